"""The objects of Kubernetes, as plain data: workload, service, scaling, network."""

from typing import Any

from matchlake.deploy.params import DeployParams
from matchlake.errors import ConfigError

Object = dict[str, Any]
USER = 10_001
"""The user id of the container, which is not root."""
METRICS_NAMESPACE = "kube-system"
"""The namespace of Azure's agents, which read the metrics of annotated pods."""
_IDENTITY = "azure.workload.identity"


def kubernetes_objects(params: DeployParams, env: str) -> dict[str, Object]:
    """Returns the objects by file name. `params.image` must be set."""
    named: dict[str, Object | None] = {
        "namespace": _namespace(params),
        "service-account": _service_account(params),
        "deployment": _deployment(params, env),
        "service": _service(params),
        "hpa": _autoscaler(params) if params.profile != "standby" else None,
        "scaled-object": _scaled_object(params) if params.profile == "standby" else None,
        "pdb": _disruption_budget(params) if params.profile != "standby" else None,
        "network-policy": _network_policy(params),
    }
    found = {name: each for name, each in named.items() if each is not None}
    files = [f"{name}.yaml" for name in found]
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": files,
    }
    return {f"{name}.yaml": each for name, each in found.items()} | {
        "kustomization.yaml": kustomization
    }


def least_replicas(params: DeployParams) -> int:
    """Returns the minimum number of replicas of the profile."""
    return {"standby": 0, "dev": 1, "ha": 3}[params.profile]


def _labels(params: DeployParams) -> dict[str, str]:
    return {"app.kubernetes.io/name": params.name}


def _meta(params: DeployParams, **more: Any) -> Object:
    return {"name": params.name, "namespace": params.namespace, "labels": _labels(params), **more}


def _namespace(params: DeployParams) -> Object:
    # This label makes Kubernetes refuse pods that run as root or gain privileges.
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": params.namespace, "labels": labels},
    }


def _service_account(params: DeployParams) -> Object:
    account: Object = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": _meta(params),
        "automountServiceAccountToken": False,
    }
    if params.identity:
        account["metadata"]["annotations"] = {f"{_IDENTITY}/client-id": params.identity}
    return account


def _deployment(params: DeployParams, env: str) -> Object:
    labels = _labels(params)
    pod_labels = labels | ({f"{_IDENTITY}/use": "true"} if params.identity else {})
    scrape = {"prometheus.io/scrape": "true", "prometheus.io/port": str(params.port)}
    spread = {
        "maxSkew": 1,
        "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": "DoNotSchedule" if params.profile == "ha" else "ScheduleAnyway",
        "labelSelector": {"matchLabels": labels},
    }
    hosts = spread | {
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
    }
    pod = {
        "serviceAccountName": params.name,
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationGracePeriodSeconds": 30,
        "topologySpreadConstraints": [spread, hosts],
        "containers": [_container(params, env)],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}}],
    }
    spec: Object = {
        "revisionHistoryLimit": 5,
        "selector": {"matchLabels": labels},
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
        },
        "template": {
            "metadata": {
                "labels": pod_labels,
                "annotations": {**scrape, "prometheus.io/path": "/metrics"},
            },
            "spec": pod,
        },
    }
    # replicas is not set: at each apply it would overwrite the autoscaler's value
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": _meta(params), "spec": spec}


def _container(params: DeployParams, env: str) -> Object:
    resources = params.resources
    probe = {"httpGet": {"path": "/ping", "port": "http"}, "timeoutSeconds": 2}
    return {
        "name": params.name,
        "image": params.image,
        "imagePullPolicy": "IfNotPresent",
        "args": serve_arguments(params, env),
        "ports": [{"name": "http", "containerPort": params.port}],
        "env": [{"name": "TMPDIR", "value": "/tmp"}],  # noqa: S108 - the container's own
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "resources": {
            "requests": {
                "cpu": f"{resources.cpu_millicores}m",
                "memory": f"{resources.memory_mb}Mi",
            },
            "limits": {
                "cpu": f"{2 * resources.cpu_millicores}m",
                "memory": f"{resources.memory_mb}Mi",
            },
        },
        "startupProbe": probe | {"periodSeconds": 2, "failureThreshold": 60},
        "readinessProbe": probe | {"periodSeconds": 5, "failureThreshold": 2},
        "livenessProbe": probe | {"periodSeconds": 10, "failureThreshold": 6},
        # Kubernetes removes the pod from the endpoints before the server stops accepting requests.
        "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
    }


def serve_arguments(params: DeployParams, env: str) -> list[str]:
    """The arguments of the image, whose entry point is `matchlake`."""
    return ["serve", params.model, "--env", env, "--port", str(params.port)]


def _service(params: DeployParams) -> Object:
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    spec = {"type": "ClusterIP", "selector": _labels(params), "ports": ports}
    return {"apiVersion": "v1", "kind": "Service", "metadata": _meta(params), "spec": spec}


def _target(params: DeployParams) -> Object:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "name": params.name}


def _autoscaler(params: DeployParams) -> Object:
    scaling = params.scaling
    cpu = {"type": "Utilization", "averageUtilization": scaling.cpu_percent}
    metrics: list[Object] = [{"type": "Resource", "resource": {"name": "cpu", "target": cpu}}]
    if scaling.network_percent is not None:
        network = {"type": "AverageValue", "averageValue": str(scaling.network_percent)}
        pods = {"metric": {"name": "network_utilization"}, "target": network}
        metrics.append({"type": "Pods", "pods": pods})
    spec = {
        "scaleTargetRef": _target(params),
        "minReplicas": least_replicas(params),
        "maxReplicas": scaling.max_replicas,
        "metrics": metrics,
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 300}},
    }
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": _meta(params),
        "spec": spec,
    }


def _scaled_object(params: DeployParams) -> Object:
    """Returns KEDA's object, which creates an autoscaler that can scale to zero."""
    scaling = params.scaling
    if scaling.prometheus is None or scaling.requests_query is None:
        raise ConfigError(
            "deploy.profile standby needs deploy.scaling.prometheus and requests_query: KEDA "
            "starts the first replica when the query reports requests at the ingress. Set both, "
            "or "
            "choose the profile dev."
        )
    trigger = {
        "type": "prometheus",
        "metadata": {
            "serverAddress": scaling.prometheus,
            "query": scaling.requests_query,
            "threshold": "50",
            "activationThreshold": "0",
        },
    }
    spec = {
        "scaleTargetRef": {"name": params.name},
        "minReplicaCount": 0,
        "maxReplicaCount": 1,
        "cooldownPeriod": 300,
        "triggers": [trigger],
    }
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": _meta(params),
        "spec": spec,
    }


def _disruption_budget(params: DeployParams) -> Object:
    # With one replica, minAvailable would block every drain of its node.
    kept = {"minAvailable": 2} if params.profile == "ha" else {"maxUnavailable": 1}
    spec = {**kept, "selector": {"matchLabels": _labels(params)}}
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _meta(params),
        "spec": spec,
    }


def _network_policy(params: DeployParams) -> Object:
    """Limits the traffic of the pods.

    Ingress: the namespaces in `callers` (default: its own) and kube-system. Egress: DNS, HTTPS,
    OTLP, PostgreSQL and Kafka ports.
    """
    name = "kubernetes.io/metadata.name"
    callers = (*(params.callers or (params.namespace,)), METRICS_NAMESPACE)
    sources = [{"namespaceSelector": {"matchLabels": {name: each}}} for each in callers]
    ports = [{"protocol": "TCP", "port": params.port}]
    names = [{"protocol": kind, "port": 53} for kind in ("UDP", "TCP")]
    out = [{"protocol": "TCP", "port": port} for port in (443, 4318, 5432, 9093)]
    spec = {
        "podSelector": {"matchLabels": _labels(params)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": sources, "ports": ports}],
        "egress": [{"ports": names}, {"ports": out}],
    }
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _meta(params),
        "spec": spec,
    }
