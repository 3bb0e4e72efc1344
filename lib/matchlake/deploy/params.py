"""The keys of `deploy` in conf. Names that a target would refuse are conf errors."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from matchlake.params import Params

Profile = Literal["standby", "dev", "ha"]
_LABEL = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
_IMAGE = re.compile(
    r"(?P<host>[a-z0-9.-]+(:[0-9]+)?/)?[a-z0-9._/-]+"
    r"(?P<tag>:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(?P<digest>@sha256:[0-9a-f]{64})?"
)
_GUID = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
_LONGEST = 40  # Kubernetes allows 63 characters; some objects get a suffix


def image_problem(image: str) -> str | None:
    """Returns why an image is refused, or None. It needs a digest, or a tag other than `latest`."""
    match = _IMAGE.fullmatch(image)
    if match is None:
        return f"{image!r} is not an image name such as registry.example.com/matchlake:0.1.0"
    if match["digest"] is None and match["tag"] is None:
        return f"{image} has neither a tag nor a digest: add :VERSION"
    if match["digest"] is None and match["tag"] == ":latest":
        return f"{image} is whatever was pushed last: name a version instead of latest"
    return None


def _label(name: str) -> str:
    if not _LABEL.fullmatch(name) or len(name) > _LONGEST:
        raise ValueError(
            f"{name!r} is refused by Kubernetes: lower-case letters, digits and -, beginning with "
            f"a letter, not ending with -, at most {_LONGEST} characters"
        )
    return name


def _image(image: str) -> str:
    problem = image_problem(image)
    if problem:
        raise ValueError(problem)
    return image


Label = Annotated[str, AfterValidator(_label)]
Image = Annotated[str, AfterValidator(_image)]


class ResourcesParams(Params):
    """The resources of a container."""

    cpu_millicores: int = Field(500, ge=50, le=64_000)
    """CPU request in millicores; the limit is twice the request."""
    memory_mb: int = Field(512, ge=64, le=1_048_576)
    """Memory request and limit, in MiB."""


class ScalingParams(Params):
    """When to add replicas."""

    max_replicas: int = Field(10, ge=1, le=1_000)
    """Maximum number of replicas of the profiles `dev` and `ha`; `standby` has at most 1."""
    cpu_percent: int = Field(70, ge=10, le=100)
    """Mean CPU utilization, in percent of the request, above which replicas are added."""
    network_percent: int | None = Field(50, ge=1, le=100)
    """Mean of the metric `network_utilization` of the pods above which replicas are added; null:
    only CPU counts, for clusters without an adapter of custom metrics."""
    prometheus: str | None = Field(None, pattern=r"^https?://[A-Za-z0-9.:/_-]+$")
    """The address of Prometheus, from which KEDA scales the profile standby to zero and back."""
    requests_query: str | None = Field(None, min_length=1, max_length=1_000)
    """For standby: a query of Prometheus for the requests per second that reach the ingress. It
    cannot be a metric of the pods: without a pod there is no metric."""


class IotEdgeParams(Params):
    """The IoT Edge device."""

    upstream_topic: str = Field("predictions", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    """The output of the module that is sent to IoT Hub."""


class DataFactoryParams(Params):
    """The pipeline that starts the jobs of the bundle."""

    workspace: str | None = Field(
        None, pattern=r"^https://adb-[0-9]+\.[0-9]+\.azuredatabricks\.net$"
    )
    """The address of the Databricks workspace."""
    jobs: dict[Label, int] = Field(default_factory=dict)
    """The ids of its jobs, in the order in which they run."""
    hour: int = Field(3, ge=0, le=23)
    """The hour of the daily run, UTC."""


class DeployParams(Params):
    """The container of `matchlake serve`, and where it runs."""

    name: Label = "matchlake"
    """The name of all objects."""
    namespace: Label = "matchlake"
    """The namespace in Kubernetes."""
    image: Image | None = None
    """The image with its version; null: nothing can be rendered but the Data Factory pipeline."""
    base_image: Image = "python:3.11-slim"
    """The image on which the Containerfile builds."""
    model: str = Field("models/recommender", pattern=r"^[A-Za-z0-9._/@:-]{1,200}$")
    """The model that `matchlake serve` serves: a folder in the image, or a registered model."""
    profile: Profile = "dev"
    """`standby`: 0 or 1 replica. `dev`: 1 and more. `ha`: 3 and more, over three zones."""
    port: int = Field(8080, ge=1024, le=65_535)
    """The port of the container; ports below 1024 need root."""
    resources: ResourcesParams = ResourcesParams()
    scaling: ScalingParams = ScalingParams()
    identity: str | None = Field(None, pattern=_GUID)
    """The client id of the managed identity with which the pods read Key Vault."""
    identity_resource: str | None = Field(None, pattern=r"^/subscriptions/[A-Za-z0-9/._-]+$")
    """The resource id of this identity, for Container Instances."""
    subnet: str | None = Field(
        None, pattern=r"^/subscriptions/[A-Za-z0-9/._-]+/subnets/[A-Za-z0-9._-]+$"
    )
    """The resource id of the subnet in which Container Instances get their private address."""
    callers: tuple[Label, ...] = ()
    """The namespaces that may call the service; empty: its own. Add the namespace of a Prometheus
    server that reads `/metrics`."""
    location: str = Field("westeurope", pattern=r"^[a-z0-9]{3,40}$")
    """The Azure region of Container Instances, workbook and alert rules."""
    iot_edge: IotEdgeParams = IotEdgeParams()
    data_factory: DataFactoryParams = DataFactoryParams()

    @model_validator(mode="after")
    def _check_profile(self) -> Self:
        least = {"standby": 1, "dev": 1, "ha": 3}[self.profile]
        if self.scaling.max_replicas < least:
            raise ValueError(
                f"scaling.max_replicas {self.scaling.max_replicas} is below the {least} replicas "
                f"of the profile {self.profile}"
            )
        return self
