"""Rules for Container Instances, IoT Edge, Data Factory, and the Containerfile."""

import json
import re
from collections.abc import Iterator
from typing import Any

from matchlake.deploy.documents import Document, Mistake, Place
from matchlake.deploy.params import image_problem

_GROUP = "Microsoft.ContainerInstance/containerGroups"
_FROM = re.compile(r"FROM\s+(?:--\S+\s+)*(\S+)", re.IGNORECASE)
_USER = re.compile(r"USER\s+([^\s:]+)", re.IGNORECASE)
_SECRET = re.compile(r"(?i)(ENV|ARG)\s+\S*(password|secret|token|key)\S*[= ]\S")


def azure_mistakes(document: Document) -> Iterator[Mistake]:
    """Yields the mistakes of container groups, IoT Edge manifests and pipelines."""
    for at, resource in enumerate(document.get("resources") or []):
        if isinstance(resource, dict) and resource.get("type") == _GROUP:
            yield from _group_mistakes(document, at, resource)
    if "modulesContent" in document.data:
        yield from _edge_mistakes(document)
    if isinstance(document.get("properties", "activities"), list):
        yield from _pipeline_mistakes(document)


def _group_mistakes(each: Document, at: int, group: dict[str, Any]) -> Iterator[Mistake]:
    place = ("resources", at, "properties")
    properties = group.get("properties") or {}
    address = properties.get("ipAddress") or {}
    if address.get("type") != "Private":
        yield each.mistake("the address must be Private", *place, "ipAddress")
    elif not properties.get("subnetIds"):
        yield each.mistake("a Private address needs subnetIds", *place, "ipAddress")
    if properties.get("restartPolicy") != "Always":
        yield each.mistake("restartPolicy must be Always for a server", *place, "restartPolicy")
    opened = {port.get("port") for port in address.get("ports") or []}
    for number, container in enumerate(properties.get("containers") or []):
        own = (*place, "containers", number, "properties")
        yield from _container_mistakes(each, own, container.get("properties") or {}, opened)


def _container_mistakes(
    each: Document, own: Place, inner: dict[str, Any], opened: set[Any]
) -> Iterator[Mistake]:
    problem = image_problem(str(inner.get("image") or ""))
    if problem:
        yield each.mistake(problem, *own, "image")
    if not (inner.get("resources") or {}).get("limits"):
        yield each.mistake("has no limits", *own, "resources")
    ports = [port.get("port") for port in inner.get("ports") or []]
    for probe in ("readinessProbe", "livenessProbe"):
        port = ((inner.get(probe) or {}).get("httpGet") or {}).get("port")
        if port is None:
            yield each.mistake(f"needs a {probe} over http", *own)
        elif port not in ports:
            yield each.mistake(
                f"{probe} asks port {port}, which is not among its ports", *own, probe
            )
    for at, port in enumerate(ports):
        if port not in opened:
            text = f"port {port} is not among those of ipAddress"
            yield each.mistake(text, *own, "ports", at)


def _edge_mistakes(each: Document) -> Iterator[Mistake]:
    place = ("modulesContent", "$edgeAgent", "properties.desired")
    agent = each.get(*place) or {}
    modules = agent.get("modules") or {}
    for group in ("systemModules", "modules"):
        for name, module in (agent.get(group) or {}).items():
            at = (*place, group, name)
            settings = module.get("settings") or {}
            problem = image_problem(str(settings.get("image") or ""))
            if problem:
                yield each.mistake(problem, *at, "settings", "image")
            if group == "modules":
                yield from _module_mistakes(each, at, module, settings)
    hub = ("modulesContent", "$edgeHub", "properties.desired", "routes")
    for name, route in (each.get(*hub) or {}).items():
        source = re.search(r"/messages/modules/([^/]+)/", str(route.get("route", "")))
        if source and source[1] not in modules:
            yield each.mistake(
                f"the route names the module {source[1]}, which is not in this file", *hub, name
            )


def _module_mistakes(
    each: Document, at: tuple[str, ...], module: dict[str, Any], settings: dict[str, Any]
) -> Iterator[Mistake]:
    if module.get("restartPolicy") != "always":
        yield each.mistake("restartPolicy must be always", *at)
    try:
        create = json.loads(settings.get("createOptions") or "{}")
    except json.JSONDecodeError:
        yield each.mistake(
            "createOptions must be JSON in a string", *at, "settings", "createOptions"
        )
        return
    host = create.get("HostConfig") or {}
    user = str(create.get("User") or "0").partition(":")[0]
    if user in ("0", "root") or host.get("Privileged"):
        yield each.mistake("the module runs as root", *at, "settings", "createOptions")
    if not host.get("ReadonlyRootfs"):
        yield each.mistake("ReadonlyRootfs must be true", *at, "settings", "createOptions")
    if not host.get("Memory") or not host.get("NanoCpus"):
        yield each.mistake("has no limits of memory and CPU", *at, "settings", "createOptions")


def _pipeline_mistakes(each: Document) -> Iterator[Mistake]:
    activities = each.get("properties", "activities") or []
    names = [activity.get("name") for activity in activities]
    for at, activity in enumerate(activities):
        place = ("properties", "activities", at)
        if names.count(activity.get("name")) > 1:
            yield each.mistake(f"two activities are named {activity.get('name')}", *place, "name")
        if not (activity.get("policy") or {}).get("timeout"):
            yield each.mistake("has no timeout: the default is twelve hours or days", *place)
        if "linkedServiceName" not in activity:
            yield each.mistake("has no linked service", *place)
        for before in activity.get("dependsOn") or []:
            if before.get("activity") not in names:
                text = f"depends on {before.get('activity')}, not an activity here"
                yield each.mistake(text, *place, "dependsOn")


def containerfile_mistakes(file: str, text: str) -> Iterator[Mistake]:
    """Yields mistakes of a Containerfile: unpinned images, root, secrets, unverified downloads."""
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    stages, user = {"scratch"}, ("root", 1)
    for number, line in lines:
        source = _FROM.match(line)
        if source:
            problem = None if source[1] in stages else image_problem(source[1])
            if problem:
                yield Mistake(file, number, "FROM", problem)
            stages |= set(re.findall(r"(?i)\bAS\s+(\S+)", line))
            user = ("root", number)
        if chosen := _USER.match(line):
            user = (chosen[1], number)
        if _SECRET.match(line):
            yield Mistake(file, number, "", "a secret would stay in the image")
        if re.match(r"(?i)ADD\s+https?:", line):
            yield Mistake(file, number, "ADD", "downloads a file without a hash")
    if user[0] in ("root", "0"):
        yield Mistake(file, user[1], "USER", "the last stage runs as root")
    if "pip install" in text and "--require-hashes" not in text:
        number = next(n for n, line in lines if "pip install" in line)
        yield Mistake(file, number, "", "pip installs packages without hashes")
    if "HEALTHCHECK" not in text:
        yield Mistake(file, len(lines), "", "has no HEALTHCHECK")
