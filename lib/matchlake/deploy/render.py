"""Renders all files of a target from conf."""

import json
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from matchlake.deploy.azure import container_group, data_factory, iot_edge_manifest
from matchlake.deploy.container import containerfile
from matchlake.deploy.kubernetes import kubernetes_objects
from matchlake.deploy.observability import alert_rules, container_insights, queries, workbook
from matchlake.deploy.params import DeployParams
from matchlake.errors import ConfigError


class Target(StrEnum):
    """The platform on which the container or the pipeline runs."""

    AKS = "aks"
    ACI = "aci"
    DOCKER = "docker"
    IOT_EDGE = "iot-edge"
    DATA_FACTORY = "data-factory"


def render(target: Target, params: DeployParams, env: str) -> dict[str, str]:
    """Returns the text of each file, by path; raises ConfigError for what a target cannot do."""
    if params.image is None and target is not Target.DATA_FACTORY:
        raise ConfigError(
            f"deploy.image is not set, but the target {target} runs an image. Set it in "
            f"conf/{env}.yml, for example to registry.example.com/matchlake:0.1.0."
        )
    match target:
        case Target.AKS:
            files: dict[str, Any] = dict(kubernetes_objects(params, env))
            files["monitoring/container-insights.yaml"] = container_insights(params)
            files |= _monitoring(params)
        case Target.ACI:
            files = {"container-group.json": container_group(params, env), **_monitoring(params)}
        case Target.DOCKER:
            files = {"Containerfile": containerfile(params)}
        case Target.IOT_EDGE:
            files = {"deployment.json": iot_edge_manifest(params, env)}
        case Target.DATA_FACTORY:
            files = dict(data_factory(params))
    return {path: _text(path, content) for path, content in files.items()}


def _monitoring(params: DeployParams) -> dict[str, Any]:
    return {
        "monitoring/workbook.json": workbook(params),
        "monitoring/alert-rules.json": alert_rules(params),
        **{f"monitoring/{name}": text for name, text in queries().items()},
    }


def _text(path: str, content: Any) -> str:
    if isinstance(content, str):
        return content
    if path.endswith(".json"):
        return json.dumps(content, indent=2) + "\n"
    return yaml.safe_dump(content, sort_keys=False, width=100)


def write_files(files: Mapping[str, str], folder: Path) -> None:
    """Writes the files below `folder`; raises ConfigError if it cannot be written."""
    try:
        for path, text in files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written: {error.strerror}.") from None
