"""JSON files for Azure: a container group, a Data Factory pipeline, an IoT Edge manifest."""

import json
from typing import Any

from matchlake.deploy.kubernetes import USER, serve_arguments
from matchlake.deploy.params import DeployParams
from matchlake.errors import ConfigError

_SCHEMA = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
_MEBI_PER_GIGA = 1024


def arm_template(*resources: dict[str, Any]) -> dict[str, Any]:
    """An ARM template with these resources."""
    return {"$schema": _SCHEMA, "contentVersion": "1.0.0.0", "resources": list(resources)}


def container_group(params: DeployParams, env: str) -> dict[str, Any]:
    """Returns the template of a container group, which has no secret.

    Its managed identity reads the secrets.
    """
    if params.profile == "ha":
        raise ConfigError(
            "deploy.profile ha: Container Instances run one replica in one zone. Choose dev, or "
            "render the target aks."
        )
    if params.subnet is None:
        raise ConfigError(
            "deploy.subnet is not set: a container group with a private address needs a subnet. "
            "Set the resource id of a subnet that is delegated to Microsoft.ContainerInstance."
        )
    cpu = max(1.0, params.resources.cpu_millicores / 1000)
    size = {"cpu": cpu, "memoryInGB": round(params.resources.memory_mb / _MEBI_PER_GIGA, 1)}
    probe = {"httpGet": {"path": "/ping", "port": params.port, "scheme": "http"}}
    container = {
        "name": params.name,
        "properties": {
            "image": params.image,
            "command": ["matchlake", *serve_arguments(params, env)],
            "ports": [{"port": params.port, "protocol": "TCP"}],
            "resources": {"requests": size, "limits": size},
            "readinessProbe": probe | {"periodSeconds": 5},
            "livenessProbe": probe | {"periodSeconds": 10, "initialDelaySeconds": 30},
            "environmentVariables": [],
        },
    }
    group: dict[str, Any] = {
        "type": "Microsoft.ContainerInstance/containerGroups",
        "apiVersion": "2023-05-01",
        "name": params.name,
        "location": params.location,
        "properties": {
            "osType": "Linux",
            "sku": "Standard",
            "restartPolicy": "Always",
            "containers": [container],
            "ipAddress": {"type": "Private", "ports": [{"port": params.port, "protocol": "TCP"}]},
            "subnetIds": [{"id": params.subnet}],
        },
    }
    if params.identity_resource:
        group["identity"] = {
            "type": "UserAssigned",
            "userAssignedIdentities": {params.identity_resource: {}},
        }
    return arm_template(group)


def iot_edge_manifest(params: DeployParams, env: str) -> dict[str, Any]:
    """Returns the deployment manifest of a device: runtime, hub and module, with their routes."""
    create = {
        "User": str(USER),
        "Cmd": serve_arguments(params, env),
        "ExposedPorts": {f"{params.port}/tcp": {}},
        "HostConfig": {
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "Memory": params.resources.memory_mb * _MEBI_PER_GIGA**2,
            "NanoCpus": 2 * params.resources.cpu_millicores * 1_000_000,
            "Tmpfs": {"/tmp": "size=256m"},  # noqa: S108 - the container's own
        },
    }
    module = {
        "version": "1.0",
        "type": "docker",
        "status": "running",
        "restartPolicy": "always",
        "settings": {"image": params.image, "createOptions": json.dumps(create)},
    }
    agent = {
        "schemaVersion": "1.1",
        "runtime": {"type": "docker", "settings": {"minDockerVersion": "v1.25"}},
        "systemModules": {
            "edgeAgent": _system_module("azureiotedge-agent"),
            "edgeHub": _system_module("azureiotedge-hub")
            | {"status": "running", "restartPolicy": "always"},
        },
        "modules": {params.name: module},
    }
    output = params.iot_edge.upstream_topic
    route = f"FROM /messages/modules/{params.name}/outputs/{output} INTO $upstream"
    hub = {
        "schemaVersion": "1.1",
        "routes": {"predictions": {"route": route}},
        "storeAndForwardConfiguration": {"timeToLiveSecs": 604_800},
    }
    return {
        "modulesContent": {
            "$edgeAgent": {"properties.desired": agent},
            "$edgeHub": {"properties.desired": hub},
        }
    }


def _system_module(name: str) -> dict[str, Any]:
    image = f"mcr.microsoft.com/{name}:1.5.20"
    return {"type": "docker", "settings": {"image": image, "createOptions": "{}"}}


def data_factory(params: DeployParams) -> dict[str, dict[str, Any]]:
    """Returns the linked service, the pipeline and its daily trigger, by file name.

    Each job starts after the previous job has succeeded. The pipeline logs in with the factory's
    managed identity.
    """
    factory = params.data_factory
    if factory.workspace is None or not factory.jobs:
        raise ConfigError(
            "deploy.data_factory needs `workspace` and `jobs`, the ids of the deployed jobs: "
            "`databricks bundle summary` shows both."
        )
    service = {
        "type": "AzureDatabricks",
        "typeProperties": {"domain": factory.workspace, "authentication": "MSI"},
    }
    activities: list[dict[str, Any]] = []
    for name, job in factory.jobs.items():
        activities.append(_activity(name, job, [each["name"] for each in activities[-1:]]))
    pipeline = {"activities": activities, "concurrency": 1}
    return {
        "linkedService/databricks.json": {"name": "databricks", "properties": service},
        f"pipeline/{params.name}.json": {"name": params.name, "properties": pipeline},
        "trigger/daily.json": {"name": "daily", "properties": _daily(params)},
    }


def _activity(name: str, job: int, before: list[str]) -> dict[str, Any]:
    return {
        "name": name,
        "type": "DatabricksJob",
        "dependsOn": [{"activity": each, "dependencyConditions": ["Succeeded"]} for each in before],
        "policy": {
            "timeout": "0.12:00:00",
            "retry": 1,
            "retryIntervalInSeconds": 300,
            "secureInput": True,
            "secureOutput": False,
        },
        "linkedServiceName": {"referenceName": "databricks", "type": "LinkedServiceReference"},
        "typeProperties": {"jobId": str(job)},
    }


def _daily(params: DeployParams) -> dict[str, Any]:
    reference = {"referenceName": params.name, "type": "PipelineReference"}
    recurrence = {
        "frequency": "Day",
        "interval": 1,
        "startTime": "2024-01-01T00:00:00Z",
        "timeZone": "UTC",
        "schedule": {"hours": [params.data_factory.hour], "minutes": [0]},
    }
    return {
        "type": "ScheduleTrigger",
        "pipelines": [{"pipelineReference": reference}],
        "typeProperties": {"recurrence": recurrence},
    }
