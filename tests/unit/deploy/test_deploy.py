"""Deployment files: every target and profile is without mistakes, and each seeded one is found."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.sources import ROOT
from typer.testing import CliRunner

from matchlake.cli.deploy import deploy_app
from matchlake.deploy.check import check_folder, has_schemas
from matchlake.deploy.observability import QUESTIONS
from matchlake.deploy.params import DeployParams
from matchlake.deploy.render import Target, render, write_files
from matchlake.errors import ConfigError, ParameterError
from matchlake.io.telemetry.names import METRICS
from matchlake.serve.metrics import Metrics

IMAGE = "registry.example.com/matchlake:0.1.0"
IDENTITY = "00112233-4455-6677-8899-aabbccddeeff"
WORKSPACE = "https://adb-1234567890123456.7.azuredatabricks.net"
STANDBY = {
    "prometheus": "http://prometheus.monitoring:9090",
    "requests_query": 'sum(rate(nginx_ingress_controller_requests{ingress="matchlake"}[2m]))',
}
SUBNET = "/subscriptions/1/virtualNetworks/v/subnets/s"


def params(**keys: Any) -> DeployParams:
    factory = {"workspace": WORKSPACE, "jobs": {"ingest": 1, "train": 2}}
    given: dict[str, Any] = {"image": IMAGE, "data_factory": factory, "subnet": SUBNET, **keys}
    return DeployParams(**given)


def written(folder: Path, target: Target, **keys: Any) -> Path:
    write_files(render(target, params(**keys), "prod"), folder)
    return folder


@pytest.mark.parametrize(
    ("target", "keys"),
    [
        (Target.AKS, {"profile": "dev"}),
        (Target.AKS, {"profile": "ha", "identity": IDENTITY, "callers": ["shop"]}),
        (Target.AKS, {"profile": "standby", "scaling": STANDBY}),
        (Target.AKS, {"scaling": {"network_percent": None}}),
        (Target.ACI, {"identity_resource": "/subscriptions/1/x/y"}),
        (Target.DOCKER, {}),
        (Target.IOT_EDGE, {}),
        (Target.DATA_FACTORY, {"image": None}),
    ],
)
def test_what_is_rendered_has_no_mistakes(
    tmp_path: Path, target: Target, keys: dict[str, Any]
) -> None:
    assert has_schemas()
    folder = written(tmp_path, target, **keys)
    assert [str(each) for each in check_folder(folder)] == []


def test_profiles_differ_in_replicas_spread_and_budget(tmp_path: Path) -> None:
    def objects(profile: str, **scaling: Any) -> dict[str, Any]:
        folder = written(tmp_path / profile, Target.AKS, profile=profile, scaling=scaling)
        return {p.stem: yaml.safe_load(p.read_text()) for p in folder.glob("*.yaml")}

    standby = objects("standby", **STANDBY)
    dev, ha = objects("dev"), objects("ha")
    assert "hpa" not in standby
    spec = standby["scaled-object"]["spec"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (0, 1)
    # The pods' own metrics end with the last pod, so the query is one of the ingress.
    assert spec["triggers"][0]["metadata"]["query"] == STANDBY["requests_query"]
    assert [each["hpa"]["spec"]["minReplicas"] for each in (dev, ha)] == [1, 3]
    assert ha["pdb"]["spec"]["minAvailable"] == 2
    metrics = ha["hpa"]["spec"]["metrics"]
    assert metrics[0]["resource"]["target"]["averageUtilization"] == 70
    assert metrics[1]["pods"]["metric"]["name"] == "network_utilization"
    assert metrics[1]["pods"]["target"]["averageValue"] == "50"
    zone = ha["deployment"]["spec"]["template"]["spec"]["topologySpreadConstraints"][0]
    assert zone["whenUnsatisfiable"] == "DoNotSchedule"


Edit = tuple[str, str, str, str]
"""The file, a pattern, its replacement, and a part of the mistake's text."""
AKS: tuple[Edit, ...] = (
    ("deployment.yaml", r"matchlake:0\.1\.0", "matchlake:latest", "pushed last"),
    ("deployment.yaml", r"matchlake:0\.1\.0", "matchlake", "neither a tag nor a digest"),
    ("deployment.yaml", r"runAsNonRoot: true", "runAsNonRoot: false", "may run as root"),
    ("deployment.yaml", r"runAsUser: 10001", "runAsUser: 0", "may run as root"),
    (
        "deployment.yaml",
        r"readOnlyRootFilesystem: true",
        "readOnlyRootFilesystem: false",
        "readOnly",
    ),
    ("deployment.yaml", r"PrivilegeEscalation: false", "PrivilegeEscalation: true", "Escalation"),
    ("deployment.yaml", r"allowPrivilegeEscalation: false", "privileged: true", "privileged"),
    ("deployment.yaml", r"- ALL", "- CHOWN", "must drop ALL"),
    ("deployment.yaml", r"type: RuntimeDefault", "type: Unconfined", "seccompProfile"),
    ("deployment.yaml", r"emptyDir:\n\s+sizeLimit: 256Mi", "hostPath: {path: /}", "hostPath"),
    (
        "deployment.yaml",
        r"terminationGrace",
        "hostNetwork: true\n      terminationGrace",
        "hostNet",
    ),
    ("deployment.yaml", r"automountServiceAccountToken: false", "hostPID: false", "automountServ"),
    ("deployment.yaml", r"cpu: 1000m", "cpu: 100m", "requests more cpu"),
    ("deployment.yaml", r"limits:\n.*\n.*\n", "limits: {}\n", "a limit of memory"),
    ("deployment.yaml", r"memory: 512Mi\n", "memory: 512Mib\n", "a request and a limit of memory"),
    ("deployment.yaml", r"startupProbe", "startProbe", "needs a startupProbe"),
    ("deployment.yaml", r"livenessProbe", "aliveProbe", "needs a livenessProbe"),
    ("deployment.yaml", r"port: http", "port: web", "asks port web"),
    ("deployment.yaml", r"containerPort: 8080", "containerPort: '8080'", "Kubernetes refuses"),
    (
        "deployment.yaml",
        r"serviceAccountName: matchlake",
        "serviceAccountName: x",
        "not a ServiceAcc",
    ),
    ("deployment.yaml", r"selector:", "replicas: 3\n  selector:", "replicas must be left out"),
    ("deployment.yaml", r"apps/v1", "apps/v1beta1", "apiVersion of Deployment is apps/v1"),
    ("deployment.yaml", r"kind: Deployment", "kind: Deploymant", "'Deploymant' is not one of"),
    ("deployment.yaml", r"  name: matchlake\n", "  name: Match_Lake\n", "refuses the name"),
    ("deployment.yaml", r"  namespace: matchlake\n", "", "has no namespace"),
    (
        "deployment.yaml",
        r"  namespace: matchlake\n",
        "  namespace: other\n",
        "namespace other is not",
    ),
    ("deployment.yaml", r"value: /tmp", "value: InstrumentationKey=1;a", "a connection string"),
    ("deployment.yaml", r"name: TMPDIR", "name: KAFKA_PASSWORD", "KAFKA_PASSWORD has a value"),
    (
        "deployment.yaml",
        r"imagePullPolicy: .*",
        "imagePullPolicy: Never\n        image: a:1",
        "twice",
    ),
    ("service.yaml", r"targetPort: http", "targetPort: 9000", "targetPort 9000 is not a port"),
    ("service.yaml", r"type: ClusterIP", "type: LoadBalancer", "open to the outside"),
    ("service.yaml", r"selector:\n.*\n", "selector: {app: x}\n", "selector finds no pod"),
    ("hpa.yaml", r"minReplicas: 3", "minReplicas: 30", "minReplicas 30 is above"),
    ("hpa.yaml", r"averageUtilization: 70", "averageUtilization: 700", "not a percentage"),
    ("hpa.yaml", r"    name: matchlake\n", "    name: other\n", "'other' is not a Deployment"),
    ("pdb.yaml", r"minAvailable: 2", "minAvailable: 3", "no node with such a pod can be drained"),
    (
        "network-policy.yaml",
        r"podSelector:[\s\S]*policyTypes",
        "podSelector: {matchLabels: {a: b}}\n  policyTypes",
        "no NetworkPolicy selects",
    ),
    ("kustomization.yaml", r"- pdb.yaml", "- pdb.yml", "pdb.yml is not a file"),
    ("namespace.yaml", r"kind: Namespace", "kind: Secret", "holds values of secrets"),
    ("service-account.yaml", r"metadata:", "metadata: [", "cannot be read"),
)
OTHERS: tuple[tuple[Target, Edit], ...] = (
    (Target.ACI, ("container-group.json", r":0\.1\.0", ":latest", "pushed last")),
    (Target.ACI, ("container-group.json", r'"Private"', '"Public"', "must be Private")),
    (Target.ACI, ("container-group.json", r'"subnetIds"', '"subnets"', "needs subnetIds")),
    (Target.ACI, ("container-group.json", r'"limits"', '"limit"', "has no limits")),
    (Target.ACI, ("container-group.json", r'"livenessProbe"', '"liveProbe"', "needs a livenessPr")),
    (Target.ACI, ("container-group.json", r'"Always"', '"Never"', "restartPolicy")),
    (
        Target.ACI,
        (
            "container-group.json",
            r'Variables": \[\]',
            'Variables": [{"name": "TOKEN", "value": "x"}]',
            "TOKEN has a value",
        ),
    ),
    (Target.DOCKER, ("Containerfile", r"USER .*", "USER root", "runs as root")),
    (Target.DOCKER, ("Containerfile", r"(?m)^USER .*\n", "", "runs as root")),
    (Target.DOCKER, ("Containerfile", r"python:3.11-slim\n", "python\n", "neither a tag")),
    (Target.DOCKER, ("Containerfile", r"--require-hashes ", "", "without hashes")),
    (
        Target.DOCKER,
        ("Containerfile", r"WORKDIR", "ENV API_TOKEN=abc\nWORKDIR", "stay in the image"),
    ),
    (Target.IOT_EDGE, ("deployment.json", r'User\\": \\"10001', r'User\\": \\"root', "as root")),
    (
        Target.IOT_EDGE,
        ("deployment.json", r"modules/matchlake/", "modules/other/", "not in this file"),
    ),
    (
        Target.IOT_EDGE,
        (
            "deployment.json",
            r'ReadonlyRootfs\\": true',
            r'ReadonlyRootfs\\": false',
            "ReadonlyRootfs",
        ),
    ),
    (
        Target.DATA_FACTORY,
        ("pipeline/matchlake.json", r'"activity": "ingest"', '"activity": "x"', "depends on x"),
    ),
    (
        Target.DATA_FACTORY,
        (
            "linkedService/databricks.json",
            r'"MSI"',
            '"Token", "accessToken": "x"',
            "accessToken has a value",
        ),
    ),
)


def seeded(folder: Path, edit: Edit) -> None:
    file, pattern, new, text = edit
    path = folder / file
    before = path.read_text()
    changed, number = re.subn(pattern, new, before, count=1)
    assert number == 1, f"{pattern} is not in {file}"
    path.write_text(changed)
    mistakes = check_folder(folder, ("1.37",))
    found = [each for each in mistakes if text in each.text]
    assert found, f"{text!r} is not among {list(map(str, mistakes))}"
    both = zip(before.splitlines(), changed.splitlines(), strict=False)
    line = next(at for at, (old, new) in enumerate(both, 1) if old != new)
    near = [each for each in found if abs(each.line - line) <= 60 and each.line > 0]
    assert near or found[0].file != file, f"changed line {line}, found {list(map(str, found))}"


@pytest.mark.parametrize("edit", AKS, ids=lambda edit: edit[3])
def test_a_seeded_mistake_in_kubernetes_is_found(tmp_path: Path, edit: Edit) -> None:
    seeded(written(tmp_path, Target.AKS, profile="ha"), edit)


@pytest.mark.parametrize(("target", "edit"), OTHERS, ids=lambda each: str(each)[:40])
def test_a_seeded_mistake_elsewhere_is_found(tmp_path: Path, target: Target, edit: Edit) -> None:
    seeded(written(tmp_path, target), edit)


@pytest.mark.parametrize(
    ("target", "file", "pattern", "new"),
    [
        (Target.AKS, "deployment.yaml", r"containers:\n", "containers: x\n      more:\n"),
        (Target.AKS, "deployment.yaml", r"kind: Deployment", "kind: [Deployment]"),
        (Target.AKS, "service.yaml", r"selector:\n.*\n", "selector: x\n"),
        (Target.AKS, "hpa.yaml", r"metrics:", "metrics: [x]\n  more:"),
        (Target.AKS, "namespace.yaml", r"name: matchlake", "name: {a: [b]}"),
        (Target.ACI, "container-group.json", r'"containers": \[', '"containers": "x", "y": ['),
        (Target.IOT_EDGE, "deployment.json", r'"modules": \{', '"modules": [1], "y": {'),
        (
            Target.DATA_FACTORY,
            "pipeline/matchlake.json",
            r'"activities": \[',
            '"activities": ["x", ',
        ),
    ],
)
def test_a_value_of_a_wrong_type_is_a_mistake_of_its_file(
    tmp_path: Path, target: Target, file: str, pattern: str, new: str
) -> None:
    path = written(tmp_path, target) / file
    changed, number = re.subn(pattern, new, path.read_text(), count=1)
    assert number == 1
    path.write_text(changed)
    assert file in {each.file for each in check_folder(tmp_path, ("1.37",))}


def test_a_containerfile_of_another_hand_is_read(tmp_path: Path) -> None:
    text = "FROM --platform=linux/amd64 python:3.11 AS a\nFROM scratch\n  USER 7:7\nHEALTHCHECK x\n"
    path = tmp_path / "Containerfile"
    path.write_text(text)
    assert check_folder(tmp_path) == []
    path.write_bytes(text.replace("7:7", "").encode() + b"# \xff")
    assert [each.text for each in check_folder(tmp_path)] == ["the last stage runs as root"]


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"name": "Match_Lake"}, "refused by Kubernetes"),
        ({"name": "a" * 41}, "at most 40"),
        ({"namespace": "ends-"}, "refused by Kubernetes"),
        ({"image": "matchlake:latest"}, "instead of latest"),
        ({"image": "matchlake"}, "neither a tag nor a digest"),
        ({"image": "Match Lake:1"}, "not an image name"),
        ({"port": 80}, "1024"),
        ({"profile": "ha", "scaling": {"max_replicas": 2}}, "below the 3 replicas"),
        ({"scaling": {"cpu_percent": 170}}, "100"),
        ({"identity": "me"}, "pattern"),
        ({"data_factory": {"jobs": {"Bad Name": 1}}}, "refused by Kubernetes"),
    ],
)
def test_conf_that_a_target_would_refuse_is_refused_when_read(
    keys: dict[str, Any], text: str
) -> None:
    with pytest.raises(ParameterError, match=re.escape(text)):
        params(**keys)


@pytest.mark.parametrize(
    ("target", "keys", "text"),
    [
        (Target.AKS, {"image": None}, "deploy.image is not set"),
        (Target.AKS, {"profile": "standby"}, "needs deploy.scaling.prometheus and requests_query"),
        (Target.ACI, {"subnet": None}, "deploy.subnet is not set"),
        (Target.ACI, {"profile": "ha"}, "one replica in one zone"),
        (Target.DATA_FACTORY, {"data_factory": {}}, "needs `workspace` and `jobs`"),
    ],
)
def test_what_a_target_cannot_do_is_said(target: Target, keys: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        render(target, params(**keys), "prod")


def test_agents_that_shall_read_the_metrics_may_call_the_pods() -> None:
    files = render(Target.AKS, params(callers=["shop"]), "prod")
    agents = yaml.safe_load(files["monitoring/container-insights.yaml"])["metadata"]["namespace"]
    (rule,) = yaml.safe_load(files["network-policy.yaml"])["spec"]["ingress"]
    allowed = [each["namespaceSelector"]["matchLabels"] for each in rule["from"]]
    assert [next(iter(each.values())) for each in allowed] == ["shop", agents]


def test_every_metric_that_the_page_names_is_one_of_the_server_or_of_a_job() -> None:
    page = (ROOT / "lib" / "matchlake" / "deploy" / "README.md").read_text()
    served = set(re.findall(r"(?m)^# TYPE (\S+)", Metrics().text({})))
    jobs = {metric.prometheus for metric in METRICS.values()}
    assert not served & jobs
    named = set(re.findall(r"matchlake_[a-z_]+", page))
    assert named <= served | jobs
    assert named


def test_every_query_asks_for_a_metric_of_the_product_and_its_attribute() -> None:
    for each in QUESTIONS:
        assert each.by in METRICS[each.metric].attributes
        assert f'Name == "{each.metric}"' in each.kql()
    files = render(Target.AKS, params(), "prod")
    book = json.loads(files["monitoring/workbook.json"])
    items = json.loads(book["resources"][0]["properties"]["serializedData"])["items"]
    assert len(items) == len(QUESTIONS) + 1
    rules = json.loads(files["monitoring/alert-rules.json"])["resources"]
    assert {rule["name"] for rule in rules} == {
        f"matchlake-{each.name}" for each in QUESTIONS if each.alert_above is not None
    }


def test_the_commands_render_and_check(tmp_path: Path) -> None:
    def call(*arguments: str) -> Any:
        return CliRunner().invoke(deploy_app, list(arguments))

    conf = ["--env", "demo", "--conf-dir", str(ROOT / "conf"), "--out", str(tmp_path / "aks")]
    done = call("render", "--target", "aks", "--set", f"deploy.image={IMAGE}", *conf)
    assert done.exit_code == 0, done.output
    assert "deployment.yaml" in done.output
    assert call("check", str(tmp_path / "aks")).output.endswith("no mistakes\n")
    refused: Callable[[], Any] = lambda: check_folder(tmp_path / "none")  # noqa: E731
    with pytest.raises(ConfigError, match="is not a folder"):
        refused()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no YAML, JSON or Containerfile"):
        check_folder(tmp_path / "empty")
