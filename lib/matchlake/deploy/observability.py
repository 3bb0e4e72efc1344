"""Queries, alert rules, a workbook and scrape settings, from the names of the metrics."""

import json
import uuid
from typing import Any, NamedTuple

from matchlake.deploy.azure import arm_template
from matchlake.deploy.kubernetes import METRICS_NAMESPACE
from matchlake.deploy.params import DeployParams
from matchlake.io.telemetry.names import METRICS

_TABLE = "AppMetrics"


class Question(NamedTuple):
    """A question about a metric, and its Kusto query."""

    name: str
    title: str
    metric: str
    aggregate: str
    by: str
    alert_above: float | None = None
    """The alert threshold: an alert fires if the value of an hour is above it."""

    def kql(self) -> str:
        """Returns the query, which groups by hour and by the attribute `by`."""
        if self.metric not in METRICS:
            raise ValueError(f"{self.metric} is not a metric of matchlake")
        return (
            f"{_TABLE}\n"
            f'| where Name == "{self.metric}"\n'
            f"| extend {self.by} = tostring(Properties.{self.by})\n"
            f"| summarize value = {self.aggregate} by {self.by}, bin(TimeGenerated, 1h)\n"
            "| order by TimeGenerated asc"
        )


_SUM, _MEAN = "sum(Sum)", "sum(Sum) / sum(ItemCount)"

QUESTIONS = (
    Question("job-time", "Mean seconds of each job", "matchlake.job.seconds", _MEAN, "job"),
    Question("job-runs", "Runs by outcome", "matchlake.job.runs", _SUM, "outcome"),
    Question("step-time", "Mean seconds of each step", "matchlake.step.seconds", _MEAN, "step"),
    Question("records", "Offsets read", "matchlake.batch.offsets", _SUM, "stream"),
    Question(
        "quarantined", "Quarantined rows", "matchlake.batch.quarantined", _SUM, "stream", 1_000
    ),
    Question("gaps", "Offsets in gaps", "matchlake.batch.gaps", _SUM, "stream", 0),
    Question("bytes", "Bytes received", "matchlake.batch.bytes", _SUM, "stream"),
    Question("lag", "Unread records", "matchlake.batch.lag", "max(Max)", "stream", 1_000_000),
    Question("loss", "Loss of fits", "matchlake.fit.loss", "min(Min)", "algorithm"),
    Question("errors", "Errors in the log", "matchlake.log.errors", _SUM, "job", 0),
)
"""The questions of the queries, the workbook and the alert rules."""


def queries() -> dict[str, str]:
    """The queries by the names of their files."""
    return {f"{each.name}.kql": f"// {each.title}\n{each.kql()}\n" for each in QUESTIONS}


def workbook(params: DeployParams) -> dict[str, Any]:
    """The template of an Azure workbook with one chart per question."""
    heading = {"type": 1, "content": {"json": f"# {params.name}"}, "name": "heading"}
    items = [heading, *(_chart(each) for each in QUESTIONS)]
    data = json.dumps({"version": "Notebook/1.0", "items": items, "isLocked": False})
    return arm_template(
        {
            "type": "Microsoft.Insights/workbooks",
            "apiVersion": "2022-04-01",
            "name": str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{params.name}.workbook")),
            "location": params.location,
            "kind": "shared",
            "properties": {
                "displayName": params.name,
                "category": "workbook",
                "sourceId": "azure monitor",
                "serializedData": data,
            },
        }
    )


def _chart(question: Question) -> dict[str, Any]:
    content = {
        "version": "KqlItem/1.0",
        "query": question.kql(),
        "size": 0,
        "title": question.title,
        "timeContext": {"durationMs": 604_800_000},
        "queryType": 0,
        "resourceType": "microsoft.operationalinsights/workspaces",
        "visualization": "linechart",
    }
    return {"type": 3, "content": content, "name": question.name, "customWidth": "50"}


def alert_rules(params: DeployParams) -> dict[str, Any]:
    """The template of the alert rules; the workspace is a parameter."""
    rules = [_alert(params, each) for each in QUESTIONS if each.alert_above is not None]
    template = arm_template(*rules)
    return template | {"parameters": {"workspace": {"type": "string"}}}


def _alert(params: DeployParams, question: Question) -> dict[str, Any]:
    criterion = {
        "query": question.kql(),
        "timeAggregation": "Maximum",
        "metricMeasureColumn": "value",
        "operator": "GreaterThan",
        "threshold": question.alert_above,
        "dimensions": [{"name": question.by, "operator": "Include", "values": ["*"]}],
        "failingPeriods": {"numberOfEvaluationPeriods": 1, "minFailingPeriodsToAlert": 1},
    }
    return {
        "type": "Microsoft.Insights/scheduledQueryRules",
        "apiVersion": "2022-06-15",
        "name": f"{params.name}-{question.name}",
        "location": params.location,
        "properties": {
            "displayName": f"{params.name}: {question.title}",
            "severity": 2,
            "enabled": True,
            "scopes": ["[parameters('workspace')]"],
            "evaluationFrequency": "PT15M",
            "windowSize": "PT1H",
            "criteria": {"allOf": [criterion]},
            "autoMitigate": True,
        },
    }


def container_insights(params: DeployParams) -> dict[str, Any]:
    """The config map of Azure's agents: logs of the namespace, and metrics of annotated pods."""
    logs = (
        "[log_collection_settings]\n"
        "  [log_collection_settings.stdout]\n"
        "    enabled = true\n"
        "  [log_collection_settings.stderr]\n"
        "    enabled = true\n"
        "  [log_collection_settings.env_var]\n"
        "    enabled = false\n"
    )
    metrics = (
        "[prometheus_data_collection_settings.cluster]\n"
        '  interval = "1m"\n'
        "  monitor_kubernetes_pods = true\n"
        f'  monitor_kubernetes_pods_namespaces = ["{params.namespace}"]\n'
    )
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "container-azm-ms-agentconfig", "namespace": METRICS_NAMESPACE},
        "data": {
            "schema-version": "v1",
            "config-version": "1",
            "log-data-collection-settings": logs,
            "prometheus-data-collection-settings": metrics,
        },
    }
