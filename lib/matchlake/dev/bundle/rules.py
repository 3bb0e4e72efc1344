"""Rules on starts, notifications, conf, and what mode production requires."""

import re
from collections.abc import Iterator
from zoneinfo import available_timezones

from matchlake.config import JobConfig
from matchlake.dev.bundle.cron import cron_problem
from matchlake.dev.bundle.resolve import Resolved, walk_jobs, walk_tasks
from matchlake.dev.bundle.tasks import task_kind, unused_parameters
from matchlake.dev.bundle.tree import Keyed, Path_, Problem, leaves, problem
from matchlake.errors import SchemaError
from matchlake.io.secrets import secret_references
from matchlake.io.storage import refuse_keys
from matchlake.lakehouse.job_order import jobs_before
from matchlake.schemas import check_name

_STARTS = ("schedule", "continuous", "trigger", "triggers")
_VOLUME = re.compile(r"/Volumes/([^/]+)/([^/]+)/([^/]+)")
_LTS = ("15.4.", "16.4.", "17.3.")
_NOTIFICATIONS = {
    "RUN_DURATION_SECONDS": "on_duration_warning_threshold_exceeded",
    "STREAMING_BACKLOG": "on_streaming_backlog_exceeded",
}


def job_rules(resolved: Resolved) -> Iterator[Problem]:
    """Problems of starts, notifications and clusters of jobs."""
    for path, job in walk_jobs(resolved):
        texts = (*_start_texts(job), *_health_texts(job), *_key_texts(job))
        yield from (problem(resolved.tree, (*path, *where), text) for where, text in texts)
        for name in unused_parameters(job):
            yield problem(resolved.tree, (*path, "parameters"), f"no task uses {name}")
    for kind, key in (("alerts", "quartz_cron_schedule"),):
        for name, each in resolved.tree.get("resources", {}).get(kind, {}).items():
            wrong = cron_problem(str(each.get("schedule", {}).get(key, "")))
            if wrong:
                yield problem(resolved.tree, ("resources", kind, name, "schedule", key), wrong)


def _start_texts(job: Keyed) -> Iterator[tuple[Path_, str]]:
    starts = [key for key in _STARTS if key in job]
    if len(starts) > 1:
        yield (starts[1],), f"a job starts in one way, not by {' and '.join(starts)}"
    if "schedule" in job:
        wrong = cron_problem(str(job["schedule"].get("quartz_cron_expression", "")))
        if wrong:
            yield ("schedule", "quartz_cron_expression"), wrong
        zone = job["schedule"].get("timezone_id")
        if zone not in available_timezones():
            yield ("schedule", "timezone_id"), f"{zone!r} is no time zone, such as Europe/Berlin"
    if "continuous" in job:
        for at, task in enumerate(job.get("tasks", [])):
            if "max_retries" in task:
                text = "a continuous job restarts by itself: continuous.task_retry_mode"
                yield ("tasks", at, "max_retries"), text
        if job.get("max_concurrent_runs", 1) != 1:
            yield ("max_concurrent_runs",), "a continuous job has one run at a time"


def _health_texts(job: Keyed) -> Iterator[tuple[Path_, str]]:
    rules = job.get("health", {}).get("rules", [])
    emails = job.get("email_notifications", {})
    for at, rule in enumerate(rules):
        metric = str(rule.get("metric", ""))
        needs = next((key for name, key in _NOTIFICATIONS.items() if metric.startswith(name)), None)
        if needs and not emails.get(needs) and not job.get("webhook_notifications", {}).get(needs):
            yield (
                ("health", "rules", at),
                f"nobody is notified: set email_notifications.{needs}",
            )


def _key_texts(job: Keyed) -> Iterator[tuple[Path_, str]]:
    """Clusters with storage keys in their settings."""
    for group in ("job_clusters", "tasks"):
        for at, each in enumerate(job.get(group, [])):
            try:
                refuse_keys(each.get("new_cluster", {}).get("spark_conf", {}))
            except ValueError as error:
                yield (group, at, "new_cluster", "spark_conf"), str(error)


def conf_rules(resolved: Resolved, config: JobConfig) -> Iterator[Problem]:
    """Differences between the bundle and conf."""
    tree, resources = resolved.tree, resolved.tree.get("resources", {})
    schemas = {each.get("catalog_name") for each in resources.get("schemas", {}).values()}
    if schemas and schemas != {config.catalog}:
        text = f"are in {', '.join(map(str, schemas))}, tables of conf in {config.catalog}"
        yield problem(tree, ("resources", "schemas"), text)
    volumes = {
        tuple(each.get(key) for key in ("catalog_name", "schema_name", "name"))
        for each in resources.get("volumes", {}).values()
    }
    for path, value in leaves(config.model_dump()):
        match = _VOLUME.match(value) if isinstance(value, str) else None
        if match and match.groups() not in volumes:
            key, name = ".".join(map(str, path)), "/".join(match.groups())
            yield problem(tree, ("resources", "volumes"), f"lack {name}, which conf's {key} names")
    scopes = {each.get("name") for each in resources.get("secret_scopes", {}).values()}
    for scope in sorted({ref.scope for ref in secret_references(config).values()} - scopes):
        yield problem(tree, ("resources", "secret_scopes"), f"lack {scope}, which conf refers to")
    yield from _table_problems(resolved, config)


def _table_problems(resolved: Resolved, config: JobConfig) -> Iterator[Problem]:
    """A table that triggers a job must be written by a job."""
    for path, job in walk_jobs(resolved):
        where = ("trigger", "table_update", "table_names")
        tables = job.get("trigger", {}).get("table_update", {}).get("table_names", [])
        for at, name in enumerate(tables):
            text = _table_text(str(name), config)
            if text:
                yield problem(resolved.tree, (*path, *where, at), text)


def _table_text(name: str, config: JobConfig) -> str:
    try:
        catalog, _, table = check_name(name, parts=3).partition(".")
    except SchemaError:
        return f"{name!r} is not catalog.schema.table"
    if catalog != config.catalog:
        return f"{name} is not in the catalog of conf, {config.catalog}"
    return "" if jobs_before(config, table) else f"no job writes {table}"


def production_rules(resolved: Resolved) -> Iterator[Problem]:
    """What a target of mode production must have."""
    tree = resolved.tree
    run_as = tree.get("run_as", {})
    if not (run_as.get("service_principal_name") or run_as.get("group_name")):
        yield problem(tree, ("run_as",), "production runs as a service principal: set "
                      "run_as.service_principal_name")  # fmt: skip
    if "someone" in str(tree["workspace"]["root_path"]):
        text = "belongs to one person: set it, so that there is one deployment only"
        yield problem(tree, ("workspace", "root_path"), text)
    if str(tree["workspace"]["root_path"]).startswith("/Workspace/Shared"):
        text = "every user of the workspace can change its files: use the folder of run_as"
        yield problem(tree, ("workspace", "root_path"), text)
    for kind in ("schemas", "volumes", "registered_models"):
        for key, each in tree.get("resources", {}).get(kind, {}).items():
            if not each.get("lifecycle", {}).get("prevent_destroy"):
                text = "can be destroyed with its data: set lifecycle.prevent_destroy"
                yield problem(tree, ("resources", kind, key), text)
    for path, job in walk_jobs(resolved):
        yield from (problem(tree, (*path, *where), text) for where, text in _job_lacks(job))
    for path, task, job in walk_tasks(resolved):
        yield from (problem(tree, (*path, *where), text) for where, text in _task_lacks(task, job))


def _job_lacks(job: Keyed) -> Iterator[tuple[Path_, str]]:
    if not job.get("email_notifications", {}).get("on_failure"):
        yield ("email_notifications",), "nobody is notified of a failure"
    if not job.get("tags"):
        yield ("tags",), "no tags, so nobody owns its cost"
    if "continuous" not in job and not job.get("queue", {}).get("enabled"):
        yield ("queue",), "is not enabled: a run that must wait would be skipped"
    if job.get("max_concurrent_runs", 1) != 1:
        yield ("max_concurrent_runs",), "two runs of a job would write the same tables"
    if not job.get("health", {}).get("rules"):
        yield ("health",), "no rule limits its duration or backlog"
    for at, cluster in enumerate(job.get("job_clusters", [])):
        spec = cluster.get("new_cluster", {})
        if not str(spec.get("spark_version", "")).startswith(_LTS):
            text = f"{spec.get('spark_version')} is no long-term runtime: {', '.join(_LTS)}"
            yield ("job_clusters", at, "new_cluster", "spark_version"), text
        if spec.get("data_security_mode") not in ("SINGLE_USER", "USER_ISOLATION"):
            yield ("job_clusters", at), "without data_security_mode it cannot use Unity Catalog"


def _task_lacks(task: Keyed, job: Keyed) -> Iterator[tuple[Path_, str]]:
    if "existing_cluster_id" in task:
        yield ("existing_cluster_id",), "production must run on its own clusters"
    if task_kind(task) == "condition_task" or "continuous" in job:
        return
    if not (task.get("timeout_seconds") or job.get("timeout_seconds")):
        yield (), "has no timeout_seconds, so it can hang forever"
    if task_kind(task) != "run_job_task" and not task.get("max_retries"):
        yield (), "has no max_retries"
