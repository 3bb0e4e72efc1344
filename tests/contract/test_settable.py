"""Every key of conf is classified: a command line may set it outside `local`, or conf alone may."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import yaml
from pydantic import BaseModel
from tests.support.sources import ROOT

from matchlake.config import JobConfig, load_config
from matchlake.errors import ConfigError
from matchlake.io.yaml_files import read_yaml
from matchlake.params import _params_below, is_fixed, settable_keys

CONF = ROOT / "conf"
OTHERS = ("dev", "staging", "prod")
SETTABLE = set(
    """
    kafka.timeout_seconds
    ingest.streams ingest.trigger ingest.batch_log_interval_seconds ingest.reconcile_at_end
    ingest.accept_data_loss ingest.rewind_to ingest.reset_checkpoint
    reconcile.streams reconcile.rebuild
    replay.stream replay.error_codes replay.since replay.fix
    erase.user_id erase.include_unparsed_matches erase.delete_model_versions
    silver.rebuild_from silver.until lake.reload
    images.device images.batch_size features.engine profile.bins profile.top
    train.als.feedback train.als.rank train.als.iterations train.als.regularization train.als.alpha
    train.als.weight_scale train.als.unobserved_weight train.als.nu train.als.init_std
    train.als.objective
    train.als.biases train.als.solver train.als.cg_steps train.als.nonnegative train.als.seed
    train.als.duplicates train.als.execution train.als.task_memory_mb train.als.threads
    train.als.blocks train.als.checkpoint_interval train.als.patience
    train.matchbox.rank train.matchbox.samples train.matchbox.burn_in train.matchbox.thinning
    train.matchbox.seed train.matchbox.history_features train.matchbox.max_history_features
    train.matchbox.noise_variance train.matchbox.ordinal train.matchbox.day_effects
    train.matchbox.low_rank_tolerance train.matchbox.chains train.matchbox.execution
    train.matchbox.task_memory_mb train.matchbox.blocks train.matchbox.threads
    train.ease.regularization train.ease.dropout train.ease.max_self_weight train.ease.max_items
    train.ease.value_column train.slim.l1_regularization train.slim.l2_regularization
    train.slim.nonnegative train.slim.tolerance train.slim.max_iterations train.slim.memory_mb
    train.slim.threads train.slim.value_column
    train.blend.models train.blend.depth train.blend.rank_constant train.blend.split
    train.blend.validation_fraction train.blend.validation_users train.blend.k train.blend.steps
    train.blend.seed
    train.popularity.value_column
    train.bias.user_regularization train.bias.item_regularization train.bias.iterations
    train.algorithm train.features.users train.features.items
    train.split.kind train.split.seed train.split.test_fraction train.split.cutoff
    train.split.last_n train.split.training_users train.split.kept_ratings train.split.cold_users
    train.split.cold_items train.split.ignored_users train.split.ignored_items
    train.split.drop_stray_cold_items
    train.ranking.ks train.ranking.relevant_from train.ranking.gain train.ranking.gain_column
    train.azure_ml_modes.k train.azure_ml_modes.min_co_ratings train.azure_ml_modes.min_candidates
    train.search.kind train.search.space train.search.trials train.search.seconds
    train.search.no_improvement train.search.parallel train.search.trial_seconds train.search.prune
    train.search.validation_fraction train.search.seed
    train.metric train.refit_on_all_data train.require_better_than_baselines train.resume
    recommend.k recommend.tables recommend.related recommend.min_candidates recommend.clip_range
    model_jobs.names model_jobs.resume serving.port serving.workers serving.refresh_seconds
    score_events.names score_events.batch score_events.trigger online.publish
    monitor.window_days monitor.level monitor.resamples monitor.sample_rows monitor.min_rows
    maintain.optimize maintain.vacuum maintain.vacuum_hours maintain.fit_checkpoint_days
    """.split()  # noqa: SIM905 - one key per line would be pages
)
"""The keys that the starter of a job may set: numbers, choices, names of what conf declares."""
FIXED = set(
    """
    env conf_dir extends allowed_overrides catalog lakehouse checkpoints spark
    secrets.stores secrets.vaults secrets.file secrets.cache_seconds secrets.timeout_seconds
    secrets.allowed_scopes
    kafka.bootstrap_servers kafka.event_hubs.namespace kafka.event_hubs.connection.scope
    kafka.event_hubs.connection.key kafka.ssl.ca_file kafka.sasl.mechanism kafka.sasl.username
    kafka.sasl.password.scope kafka.sasl.password.key kafka.sasl.oauth.token_endpoint
    kafka.sasl.oauth.client_id kafka.sasl.oauth.client_secret.scope
    kafka.sasl.oauth.client_secret.key kafka.sasl.oauth.scope kafka.sasl.oauth.ca_file
    kafka.login_module_prefix
    streams ingest.batch_log erase.salt.scope erase.salt.key erase.hash_file
    silver.tables silver.interactions.sources silver.interactions.aggregation
    silver.interactions.half_life_days silver.interactions.reference_time
    lake.folder lake.quarantine lake.file_log lake.file_discovery lake.sources
    lake.max_line_bytes lake.max_unpacked_bytes images.sources
    features.folder features.tables profile.tables training_sets storage.accounts
    tracking.uri tracking.registry tracking.experiment tracking.model tracking.staging
    score_events.streams score_events.check_seconds
    serve_stream.stream serve_stream.user_id serve_stream.item_id serve_stream.value
    serve_stream.aggregation serve_stream.topic serve_stream.changelog_topic
    serve_stream.dead_letter_topic serve_stream.history serve_stream.k
    serve_stream.max_history serve_stream.cached_users serve_stream.max_batch serve_stream.group
    serve_stream.check_seconds
    online.stores online.arrow_folder online.tables online.postgres.host online.postgres.port
    online.postgres.database online.postgres.schema_name online.postgres.user
    online.postgres.password.scope online.postgres.password.key online.postgres.tls
    online.postgres.ca_file online.postgres.readers online.postgres.timeout_seconds
    train.weight recommend.score_pairs_table models maintain.tables maintain.cluster_by
    serving.host serving.token.scope serving.token.key serving.tls.certificate serving.tls.key
    serving.allow_open serving.max_rows serving.max_body_bytes serving.max_concurrent
    serving.max_connections serving.request_seconds serving.idle_seconds serving.cache
    serving.log.topic serving.log.queue_events serving.log.buffer serving.log.buffer_events
    monitor.models monitor.retrain
    telemetry.otlp telemetry.app_insights.scope telemetry.app_insights.key telemetry.prometheus
    telemetry.log_analytics.endpoint telemetry.log_analytics.rule telemetry.log_analytics.stream
    telemetry.log_analytics.tenant telemetry.log_analytics.client_id
    telemetry.log_analytics.client_secret.scope telemetry.log_analytics.client_secret.key
    telemetry.log_analytics.ca_file telemetry.interval_seconds telemetry.timeout_seconds
    telemetry.queue_size telemetry.flush_seconds
    deploy.name deploy.namespace deploy.image deploy.base_image deploy.model deploy.profile
    deploy.port deploy.resources.cpu_millicores deploy.resources.memory_mb
    deploy.scaling.max_replicas deploy.scaling.cpu_percent deploy.scaling.network_percent
    deploy.scaling.prometheus deploy.scaling.requests_query
    deploy.identity deploy.identity_resource deploy.subnet deploy.callers
    deploy.location deploy.iot_edge.upstream_topic deploy.data_factory.workspace
    deploy.data_factory.jobs deploy.data_factory.hour
    """.split()  # noqa: SIM905 - one key per line would be a page
)
"""The keys that name a place, an identity, a table, a secret or SQL. Mappings are one key."""


def leaves(model: type[BaseModel], before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key of a model that holds no further parameters."""
    for name, field in model.model_fields.items():
        below = _params_below(field)
        yield from leaves(below, (*before, name)) if below else ((*before, name),)


def test_every_key_is_classified() -> None:
    keys = list(leaves(JobConfig))
    names = {".".join(key) for key in keys}
    assert names - SETTABLE - FIXED == set(), "classify the new key here, and with Settable[...]"
    assert {".".join(key) for key in keys if not is_fixed(JobConfig, key)} == SETTABLE
    assert {".".join(key) for key in keys if is_fixed(JobConfig, key)} == FIXED


def test_conf_says_which_keys_may_be_set() -> None:
    lines = (CONF / "base.yml").read_text("utf-8").splitlines()
    said = [line.split(":")[0].strip() for line in lines if "# [set]" in line]
    marked = [key.split(".")[-1] for key in settable_keys(JobConfig) if "train." not in key]
    assert sorted(said) == sorted(marked)


def test_only_dev_allows_names_and_no_environment_more() -> None:
    names = ("catalog", "tracking.model", "tracking.experiment")
    allowed = {env: load_config(env, conf_dir=CONF).allowed_overrides for env in OTHERS}
    assert allowed == {"dev": names, "staging": (), "prod": ()}


ACCOUNT = {"tenant": "t", "client_id": "c", "client_secret": {"scope": "hr", "key": "k"}}
EVIL: tuple[Any, ...] = (
    *("http://169.254.169.254", 7, {"canary": ACCOUNT}),
    *(
        "https://canary.example",
        "abfss://c@x.dfs.canary.example/a",
        "/etc/passwd",
        "canary",
        "a.b",
        "secret('hr', 'k')",
        True,
        None,
        [],
        ["a.b"],
        {},
    ),
    *({"scope": "hr", "key": "k"}, {"a": "b"}),
)


def below(value: Any, path: str) -> Iterator[str]:
    """Every key of the data of conf, sections included."""
    yield path
    for key, inner in value.items() if isinstance(value, dict) else ():
        yield from below(inner, f"{path}.{key}")


def every_key() -> list[str]:
    """The keys of the classes and those of the conf files, some of which stand in mappings."""
    files = [
        yaml.safe_load((CONF / each).read_text()) for each in ("base.yml", "data/movielens.yml")
    ]
    given = {path for file in files for key, value in file.items() for path in below(value, key)}
    more = {"storage.accounts.canary", "streams.rating_events.format_options.registry", "spark.a.b"}
    more |= {"streams.canary", "training_sets.canary", "secrets.vaults.canary", "kafka.sasl.oauth"}
    return sorted(given | more | SETTABLE | FIXED)


def fixed_part(of: JobConfig) -> str:
    """All values that conf alone may choose."""
    data = of.model_dump(mode="json", exclude={"env", "conf_dir"})
    for key in settable_keys(JobConfig):
        *sections, name = key.split(".")
        section = data
        for each in sections:
            section = section[each]
        del section[name]
    return json.dumps(data, sort_keys=True)


@pytest.fixture
def _files_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading YAML takes most of the time of a load."""
    monkeypatch.setattr("matchlake.config.layers.read_yaml", cache(read_yaml))


@pytest.mark.usefixtures("_files_read_once")
@pytest.mark.parametrize(
    ("env", "values"),
    [
        ("prod", EVIL[:3]),
        *(pytest.param(env, EVIL, marks=pytest.mark.soak) for env in OTHERS),
    ],
)
def test_no_override_changes_what_conf_alone_may_choose(env: str, values: tuple[Any, ...]) -> None:
    conf = load_config(env, conf_dir=CONF)
    allowed, taken = set(conf.allowed_overrides), set()
    for key in every_key():
        for value in () if key in allowed else values:
            try:
                found = load_config(env, [f"{key}={json.dumps(value)}"], CONF)
            except ConfigError:
                continue
            assert fixed_part(found) == fixed_part(conf), key
            taken |= {key} if found != conf else set()
    assert [key for key in taken if is_fixed(JobConfig, key.split("."))] == []


@pytest.mark.usefixtures("_files_read_once")
@pytest.mark.parametrize("env", OTHERS)
def test_a_fixed_key_is_refused_whatever_its_value(env: str) -> None:
    allowed = load_config(env, conf_dir=CONF).allowed_overrides
    for key in sorted(FIXED.difference(allowed)):
        with pytest.raises(ConfigError, match=f"--set .*only in the environment local.*{env}.yml"):
            load_config(env, [f"{key}=[canary, '{key}']"], CONF)


def test_a_platform_has_no_local_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    override = ["tracking.uri=https://mlflow.example"]
    assert load_config("local", override, CONF).tracking.uri == "https://mlflow.example"
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "17.3")
    with pytest.raises(ConfigError, match=r"--set tracking\.uri: .*on a machine of your own"):
        load_config("local", override, CONF)


def test_what_jobs_are_told_can_be_set() -> None:
    overrides = [
        "ingest.trigger='10 seconds'",
        "ingest.rewind_to={rating_events: 3}",
        "erase.user_id='42'",
        "replay.fix='lower(value)'",
        "lake.reload=[users]",
        "silver={rebuild_from: 2024-05-01, until: 2024-06-01}",
    ]
    with pytest.raises(ConfigError, match=r"--set silver\.tables"):
        load_config("prod", overrides, CONF)
    overrides[-1:] = ["silver.rebuild_from=2024-05-01", "silver.until=2024-06-01"]
    overrides += ["train.als={feedback: explicit, rank: 8}", "train.metric=rmse"]
    found = load_config("prod", [*overrides, "train.azure_ml_modes.k=3"], CONF)
    assert (found.ingest.trigger, found.erase.user_id) == ("10 seconds", "42")
    assert (found.train.als.rank, found.train.als.feedback) == (8, "explicit")
