"""Rules on endpoints of Model Serving: the traffic is 100 %, and every route has its entity."""

from collections.abc import Iterator
from typing import Any

from matchlake.dev.bundle.resolve import Resolved
from matchlake.dev.bundle.tree import Path_, Problem, problem

_WHOLE = 100


def endpoint_rules(resolved: Resolved) -> Iterator[Problem]:
    """Problems of the endpoints of one resolved target."""
    endpoints = resolved.tree.get("resources", {}).get("model_serving_endpoints", {})
    for key, endpoint in endpoints.items():
        path = ("resources", "model_serving_endpoints", key, "config")
        for below, text in _texts(endpoint.get("config") or {}):
            yield problem(resolved.tree, (*path, *below), text)


def _texts(config: Any) -> Iterator[tuple[Path_, str]]:
    entities = config.get("served_entities") or []
    names = [_name(each) for each in entities]
    for number, (name, each) in enumerate(zip(names, entities, strict=True)):
        if "external_model" not in each and not str(each.get("entity_version", "")).isdecimal():
            yield ("served_entities", number), "entity_version must be the number of a version"
        if names.count(name) > 1:
            yield ("served_entities", number), f"two entities have the name {name}"
    routes = (config.get("traffic_config") or {}).get("routes") or []
    for number, route in enumerate(routes):
        if route.get("served_entity_name") not in names:
            listed = ", ".join(names) or "none"
            text = f"no served entity {route.get('served_entity_name')}; there is {listed}"
            yield ("traffic_config", "routes", number), text
    total = sum(route.get("traffic_percentage", 0) for route in routes)
    if routes and total != _WHOLE:
        yield ("traffic_config", "routes"), f"the traffic adds up to {total} percent, not to 100"


def _name(entity: Any) -> str:
    """The name of a served entity; Databricks makes one for an entity without a name."""
    if "external_model" in entity:
        made = entity["external_model"].get("name")
    else:
        made = f"{entity.get('entity_name')}-{entity.get('entity_version')}"
    return str(entity.get("name") or made)
