"""Rules for Kubernetes: safe containers, and objects that fit each other."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from matchlake.deploy.documents import Document, Mistake, Place, shaped
from matchlake.deploy.params import image_problem

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_KINDS = {
    "Namespace": "v1",
    "ServiceAccount": "v1",
    "Service": "v1",
    "ConfigMap": "v1",
    "Secret": "v1",
    "Deployment": "apps/v1",
    "HorizontalPodAutoscaler": "autoscaling/v2",
    "PodDisruptionBudget": "policy/v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "ScaledObject": "keda.sh/v1alpha1",
    "Kustomization": "kustomize.config.k8s.io/v1beta1",
}
_POD: Place = ("spec", "template", "spec")
_PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
_UNITS = {
    "m": 1e-3,
    "": 1.0,
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
}


def kubernetes_mistakes(documents: Sequence[Document]) -> Iterator[Mistake]:
    """Yields the mistakes of each object, and of references between objects."""
    for each in documents:
        yield from shaped(each, _object_mistakes(each, documents))
    yield from _doubles(documents)


def _object_mistakes(each: Document, documents: Sequence[Document]) -> Iterator[Mistake]:
    yield from _identity_mistakes(each)
    match each.data.get("kind"):
        case "Deployment":
            yield from _pod_mistakes(each)
            yield from _deployment_mistakes(each, documents)
        case "Service":
            yield from _service_mistakes(each, documents)
        case "HorizontalPodAutoscaler" | "ScaledObject":
            yield from _scaler_mistakes(each, documents)
        case "PodDisruptionBudget":
            yield from _budget_mistakes(each, documents)
        case "Kustomization":
            yield from _kustomization_mistakes(each, documents)


def _identity_mistakes(each: Document) -> Iterator[Mistake]:
    kind = each.data.get("kind")
    if kind not in _KINDS:
        yield each.mistake(f"kind {kind!r} is not one of {', '.join(_KINDS)}", "kind")
        return
    if each.data.get("apiVersion") != _KINDS[kind]:
        text = f"apiVersion of {kind} is {_KINDS[kind]}, not {each.data.get('apiVersion')!r}"
        yield each.mistake(text, "apiVersion")
    if kind == "Kustomization":
        return
    name = each.get("metadata", "name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        yield each.mistake(f"Kubernetes refuses the name {name!r}", "metadata", "name")
    if kind != "Namespace" and not each.get("metadata", "namespace"):
        yield each.mistake("has no namespace: the current one would be used", "metadata")


def _pod_mistakes(each: Document) -> Iterator[Mistake]:
    pod = each.get(*_POD) or {}
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(key):
            yield each.mistake(f"{key} opens the node to the pod", *_POD, key)
    for at, volume in enumerate(pod.get("volumes") or []):
        if "hostPath" in volume:
            yield each.mistake("hostPath opens the node to the pod", *_POD, "volumes", at)
    if pod.get("automountServiceAccountToken") is not False:
        text = "automountServiceAccountToken must be false: the server never calls Kubernetes"
        yield each.mistake(text, *_POD)
    for at, container in enumerate(pod.get("containers") or []):
        place = (*_POD, "containers", at)
        yield from _security_mistakes(each, place, pod.get("securityContext") or {}, container)
        yield from _container_mistakes(each, place, container)


def _security_mistakes(
    each: Document, place: Place, pod: dict[str, Any], container: dict[str, Any]
) -> Iterator[Mistake]:
    own = container.get("securityContext") or {}
    both = {**pod, **own}
    at = (*place, "securityContext")
    if both.get("runAsNonRoot") is not True or both.get("runAsUser") == 0:
        yield each.mistake(
            "the container may run as root: runAsNonRoot true, runAsUser above 0", *at
        )
    if own.get("readOnlyRootFilesystem") is not True:
        yield each.mistake("readOnlyRootFilesystem must be true", *at)
    if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
        yield each.mistake("allowPrivilegeEscalation must be false, and privileged absent", *at)
    capabilities = own.get("capabilities") or {}
    if capabilities.get("drop") != ["ALL"] or capabilities.get("add"):
        yield each.mistake("capabilities must drop ALL, and add none", *at)
    if (both.get("seccompProfile") or {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield each.mistake("seccompProfile must be RuntimeDefault", *_POD, "securityContext")


def _container_mistakes(
    each: Document, place: Place, container: dict[str, Any]
) -> Iterator[Mistake]:
    problem = image_problem(str(container.get("image") or ""))
    if problem:
        yield each.mistake(problem, *place, "image")
    for kind in ("cpu", "memory"):
        asked, limit = (
            _quantity(((container.get("resources") or {}).get(key) or {}).get(kind))
            for key in ("requests", "limits")
        )
        if asked is None or limit is None:
            yield each.mistake(f"needs a request and a limit of {kind}", *place, "resources")
        elif asked > limit:
            yield each.mistake(f"requests more {kind} than its limit", *place, "resources")
    ports = container.get("ports") or []
    known = {port.get("name") for port in ports} | {port.get("containerPort") for port in ports}
    for probe in _PROBES:
        port = ((container.get(probe) or {}).get("httpGet") or {}).get("port")
        if port is None:
            yield each.mistake(f"needs a {probe} over http", *place)
        elif port not in known:
            yield each.mistake(
                f"{probe} asks port {port}, which is not a port of the container", *place, probe
            )


def _quantity(value: Any) -> float | None:
    match = re.fullmatch(r"([0-9.]+)(m|Ki|Mi|Gi|k|M|G|)", str(value))
    return float(match[1]) * _UNITS[match[2]] if match else None


def _deployment_mistakes(each: Document, documents: Sequence[Document]) -> Iterator[Mistake]:
    labels = each.get("spec", "template", "metadata", "labels") or {}
    selector = each.get("spec", "selector", "matchLabels") or {}
    if not selector or not selector.items() <= labels.items():
        text = "selector must match the labels of its own pods"
        yield each.mistake(text, "spec", "selector")
    account = each.get(*_POD, "serviceAccountName")
    if account not in _names(documents, "ServiceAccount"):
        text = f"serviceAccountName {account!r} is not a ServiceAccount in these files"
        yield each.mistake(text, *_POD, "serviceAccountName")
    if "replicas" in each.data.get("spec", {}) and _scalers(documents, each):
        text = "replicas must be left out: an autoscaler sets it"
        yield each.mistake(text, "spec", "replicas")
    policies = [d for d in documents if d.data.get("kind") == "NetworkPolicy"]
    chosen = [d.get("spec", "podSelector", "matchLabels") or {} for d in policies]
    if not any(each_one.items() <= labels.items() for each_one in chosen):
        yield each.mistake("no NetworkPolicy selects these pods", "metadata", "name")
    for at, spread in enumerate(each.get(*_POD, "topologySpreadConstraints") or []):
        wanted = (spread.get("labelSelector") or {}).get("matchLabels") or {}
        if not wanted or not wanted.items() <= labels.items():
            place = (*_POD, "topologySpreadConstraints", at)
            yield each.mistake("the topology spread selects no pod of this deployment", *place)


def _doubles(documents: Sequence[Document]) -> Iterator[Mistake]:
    seen: dict[str, Document] = {}
    spaces = _names(documents, "Namespace")
    for each in documents:
        kind, space = each.data.get("kind"), each.get("metadata", "namespace")
        if kind == "Kustomization":
            continue
        name = f"{kind} {each.get('metadata', 'name')}"
        key = f"{name} in {space}"
        if key in seen:
            yield each.mistake(f"{name} is also in {seen[key].file}", "metadata", "name")
        seen[key] = each
        if space and spaces and space not in (*spaces, "kube-system"):
            yield each.mistake(f"namespace {space} is not in these files", "metadata", "namespace")


def _service_mistakes(each: Document, documents: Sequence[Document]) -> Iterator[Mistake]:
    selector = each.get("spec", "selector") or {}
    targets = [d for d in documents if selector and _selects(selector, d)]
    if not targets:
        yield each.mistake("selector finds no pod of these files", "spec", "selector")
        return
    containers = targets[0].get(*_POD, "containers") or []
    ports = [port for container in containers for port in container.get("ports") or []]
    known = {port.get("name") for port in ports} | {port.get("containerPort") for port in ports}
    for at, port in enumerate(each.get("spec", "ports") or []):
        target = port.get("targetPort", port.get("port"))
        if target not in known:
            text = f"targetPort {target} is not a port of the container"
            yield each.mistake(text, "spec", "ports", at, "targetPort")
    if each.get("spec", "type") not in (None, "ClusterIP"):
        text = "the service is open to the outside: ClusterIP, with an ingress in front"
        yield each.mistake(text, "spec", "type")


def _scaler_mistakes(each: Document, documents: Sequence[Document]) -> Iterator[Mistake]:
    target = each.get("spec", "scaleTargetRef", "name")
    deployments = [d for d in documents if d.data.get("kind") == "Deployment"]
    own = [d for d in deployments if d.get("metadata", "name") == target]
    if not own:
        text = f"scaleTargetRef {target!r} is not a Deployment in these files"
        yield each.mistake(text, "spec", "scaleTargetRef")
    elif len(_scalers(documents, own[0])) > 1:
        text = "two autoscalers set the replicas of one Deployment: keep one"
        yield each.mistake(text, "spec", "scaleTargetRef")
    ends = ("minReplicas", "maxReplicas", "metrics")
    if each.data.get("kind") == "ScaledObject":
        ends = ("minReplicaCount", "maxReplicaCount", "triggers")
    least, most = (each.get("spec", key) for key in ends[:2])
    if not isinstance(most, int) or (least if isinstance(least, int) else 1) > most:
        yield each.mistake(f"{ends[0]} {least} is above {ends[1]} {most}", "spec", ends[1])
    if not each.get("spec", ends[2]):
        yield each.mistake(f"has no {ends[2]}: replicas are never added", "spec")
    for at, metric in enumerate(each.get("spec", "metrics") or []):
        percent = (((metric.get("resource") or {}).get("target")) or {}).get("averageUtilization")
        if metric.get("type") == "Resource" and percent not in range(1, 101):
            text = f"averageUtilization {percent} is not a percentage from 1 to 100"
            yield each.mistake(text, "spec", "metrics", at)


def _budget_mistakes(each: Document, documents: Sequence[Document]) -> Iterator[Mistake]:
    selector = each.get("spec", "selector", "matchLabels") or {}
    if not any(selector and _selects(selector, d) for d in documents):
        yield each.mistake("selector finds no pod of these files", "spec", "selector")
    kept = each.get("spec", "minAvailable")
    least = [
        d.get("spec", "minReplicas")
        for d in documents
        if d.data.get("kind") == "HorizontalPodAutoscaler"
    ]
    if isinstance(kept, int) and any(isinstance(n, int) and kept >= n for n in least):
        text = f"minAvailable {kept} of {least[0]} replicas: no node with such a pod can be drained"
        yield each.mistake(text, "spec", "minAvailable")


def _kustomization_mistakes(each: Document, documents: Sequence[Document]) -> Iterator[Mistake]:
    there = {d.file for d in documents}
    for at, name in enumerate(each.get("resources") or []):
        if name not in there:
            yield each.mistake(f"{name} is not a file in this folder", "resources", at)


def _selects(selector: dict[str, Any], document: Document) -> bool:
    labels = document.get("spec", "template", "metadata", "labels") or {}
    return document.data.get("kind") == "Deployment" and selector.items() <= labels.items()


def _scalers(documents: Sequence[Document], target: Document) -> list[Document]:
    kinds = ("HorizontalPodAutoscaler", "ScaledObject")
    name = target.get("metadata", "name")
    scalers = [d for d in documents if d.data.get("kind") in kinds]
    return [d for d in scalers if d.get("spec", "scaleTargetRef", "name") == name]


def _names(documents: Sequence[Document], kind: str) -> list[Any]:
    return [d.get("metadata", "name") for d in documents if d.data.get("kind") == kind]
