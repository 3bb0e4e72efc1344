"""conf/ becomes one frozen config; whatever cannot be is refused with what could be."""

import json
import re
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from matchlake.config import find_conf, load_config, load_feature_set
from matchlake.errors import ConfigError

BASE = "lakehouse: null\ncheckpoints: null\n"


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    (tmp_path / "base.yml").write_text(BASE)
    (tmp_path / "local.yml").write_text("lakehouse: here\ncheckpoints: here/checkpoints\n")
    return tmp_path


@pytest.mark.parametrize("env", ["local", "demo", "dev", "staging", "prod"])
def test_every_environment_loads(env: str) -> None:
    assert load_config(env, conf_dir=find_conf()).env == env


def test_overrides_come_last_and_reach_into_mappings(conf: Path) -> None:
    config = load_config("local", ["lakehouse=there", "spark={a: '1'}", "spark.b='2'"], conf)
    assert config.lakehouse == "there"
    assert config.spark == {"a": "1", "b": "2"}
    assert config.warehouse == "there/warehouse"


def test_an_unknown_environment_names_the_known_ones(conf: Path) -> None:
    with pytest.raises(ConfigError, match=r"No environment 'prd' .* there is: local"):
        load_config("prd", conf_dir=conf)


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("spark.spark.sql.shuffle.partitions=8", "spark.sql.shuffle.partitions", "8"),
        ("spark.spark.sql.ansi.enabled=false", "spark.sql.ansi.enabled", "false"),
        ("spark.spark.executor.memory=4g", "spark.executor.memory", "4g"),
        ("spark.a=", "a", None),
    ],
)
def test_a_session_setting_keeps_its_dots(
    conf: Path, override: str, key: str, value: str | None
) -> None:
    if value is None:
        with pytest.raises(ConfigError, match=r"spark\.a: must be text: put it into quotes"):
            load_config("local", [override], conf)
    else:
        assert load_config("local", [override], conf).spark == {key: value}


@pytest.mark.parametrize(
    ("given", "kept"),
    [("|", "|"), (">", ">"), ("#", "#"), ("x #y", "x #y"), ("'x #y'", "x #y"), ("~", None)],
)
def test_a_text_that_yaml_would_truncate_is_complete(
    conf: Path, given: str, kept: str | None
) -> None:
    if kept is None:
        assert load_config("local", [f"lakehouse={given}"], conf).lakehouse is None
    else:
        assert load_config("local", [f"lakehouse={given}"], conf).lakehouse == kept


def test_the_catalog_stands_in_other_values(conf: Path) -> None:
    names = "allowed_overrides: [catalog, tracking.model]\n"
    (conf / "dev.yml").write_text(f"{names}catalog: lake\ncheckpoints: /Volumes/${{catalog}}/a\n")
    assert load_config("dev", conf_dir=conf).checkpoints == "/Volumes/lake/a"
    mine = load_config("dev", ["catalog=mine", "tracking.model=${catalog}.gold.m"], conf)
    assert (mine.checkpoints, mine.tracking.model) == ("/Volumes/mine/a", "mine.gold.m")
    with pytest.raises(ConfigError, match=r"checkpoints uses \$\{catalog\}"):
        load_config("local", ["checkpoints=/Volumes/${catalog}/a"], conf)
    with pytest.raises(ConfigError, match="`catalog` is not set in conf"):
        load_config("local", ["catalog=${catalog}"], conf)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("lakhouse=x", "lakhouse: unknown key, did you mean lakehouse"),
        ("tracking.urii=x", "tracking.urii: unknown key, did you mean uri"),
        ("spark.a=[1]", "spark.a: must be text: put it into quotes"),
        ("lakehouse.x=1", "lakehouse is a single value"),
        ("lakehouse", "not of the form a.b=value"),
        (".=1", "not of the form a.b=value"),
    ],
)
def test_a_bad_override_is_explained(conf: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config("local", [override], conf)


def test_an_error_never_shows_the_value(conf: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("local", ["pasword=hunter2", "checkpoints=[hunter2]"], conf)
    assert "hunter2" not in str(caught.value)


def test_broken_yaml_names_its_file(conf: Path) -> None:
    (conf / "local.yml").write_text("a: [")
    with pytest.raises(ConfigError, match=r"local\.yml is not valid YAML"):
        load_config("local", conf_dir=conf)
    (conf / "local.yml").write_text("- a")
    with pytest.raises(ConfigError, match="must hold a mapping"):
        load_config("local", conf_dir=conf)


def test_the_config_is_frozen(conf: Path) -> None:
    config = load_config("local", conf_dir=conf)
    with pytest.raises(ValidationError, match="frozen"):
        config.env = "prod"


def test_without_a_conf_folder_the_error_says_where_it_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("matchlake.io.conf_folder.__file__", str(tmp_path / "lib" / "config.py"))
    with pytest.raises(ConfigError, match="--conf-dir"):
        find_conf()


SECRETS = """
secrets: {allowed_scopes: [spare]}
kafka:
  bootstrap_servers: here:1
  sasl: {mechanism: SCRAM-SHA-512, username: u, password: {scope: ours, key: a}}
"""


@pytest.mark.parametrize(("scope", "key"), [("ours", "a"), ("spare", "b")])
def test_set_may_name_secrets_of_conf_and_of_allowed_scopes(
    conf: Path, scope: str, key: str
) -> None:
    (conf / "base.yml").write_text(BASE + SECRETS)
    override = f"kafka.sasl.password={{scope: {scope}, key: {key}}}"
    config = load_config("local", [override], conf)
    assert config.kafka.sasl is not None
    assert str(config.kafka.sasl.password) == f"secret {scope}/{key}"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("kafka.sasl.password.scope=theirs", "conf does not use secret theirs/a .*uses: ours/a"),
        ("kafka.sasl.password.key=b", "conf does not use secret ours/b .*uses: ours/a"),
        (
            "kafka.sasl={mechanism: PLAIN, username: u, password: {scope: theirs, key: b}}",
            "PLAIN and OAUTHBEARER send a secret",
        ),
        ("secrets.allowed_scopes=[theirs]", "only conf files can change"),
        ("secrets.stores=[environment]", "only conf files can change"),
        ("secrets={}", "only conf files can change"),
        ("kafka.sasl.password=hunter2", "kafka.sasl.password: must be a mapping"),
        ("kafka.sasl.password.key=../x", "must match the pattern"),
    ],
)
def test_set_reaches_for_no_other_secrets(conf: Path, override: str, message: str) -> None:
    (conf / "base.yml").write_text(BASE + SECRETS)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config("local", [override], conf)
    assert "hunter2" not in str(caught.value)


EVIL_TOKENS = (
    "{token_endpoint: 'https://evil/token', client_id: u, client_secret: {scope: ours, key: a}}"
)
REDIRECTED = [
    ["kafka.bootstrap_servers=evil:9093"],
    ["kafka.ssl={}"],
    ["kafka.ssl.ca_file=/tmp/evil.pem"],
    ["kafka.ssl={}", "kafka.sasl.mechanism=PLAIN"],
    ["kafka.sasl.mechanism=SCRAM-SHA-256"],
    ["kafka={event_hubs: {namespace: evil-hubs, connection: {scope: ours, key: a}}}"],
    ["kafka.ssl={}", f"kafka.sasl={{mechanism: OAUTHBEARER, oauth: {EVIL_TOKENS}}}"],
]


@pytest.mark.parametrize("overrides", REDIRECTED)
def test_set_sends_no_secret_elsewhere(conf: Path, overrides: list[str]) -> None:
    (conf / "base.yml").write_text(BASE + SECRETS)
    with pytest.raises(ConfigError, match=r"--set kafka\..* would send secret .* to another place"):
        load_config("local", overrides, conf)
    (conf / "base.yml").write_text(BASE + SECRETS.replace("[spare]", "[ours]"))
    assert load_config("local", overrides, conf).kafka != load_config("local", [], conf).kafka


def test_set_cannot_send_a_secret_of_another_scope_to_a_new_broker(conf: Path) -> None:
    account = "{tenant: t, client_id: c, client_secret: {scope: ours, key: lake}}"
    (conf / "base.yml").write_text(f"{BASE}storage: {{accounts: {{mylake: {account}}}}}\n")
    login = "{mechanism: SCRAM-SHA-512, username: u, password: {scope: ours, key: lake}}"
    with pytest.raises(ConfigError, match=r"would send secret .* to another place"):
        load_config("local", [f"kafka={{bootstrap_servers: 'e:1', sasl: {login}}}"], conf)


def test_set_may_name_a_broker_that_gets_no_secret(conf: Path) -> None:
    (conf / "base.yml").write_text(BASE + SECRETS)
    overrides = ["kafka.bootstrap_servers=there:1", "kafka.sasl=null"]
    assert load_config("local", overrides, conf).kafka.bootstrap_servers == "there:1"


TABLE = """{table: gold.x, comment: c, rows: {labels: a.b,
    history_tables: [{table: a.b, keys: [k], label_timestamp: t, event_time: e}]}}"""
NAMED = {
    **{
        key: f"{key}={{}}"
        for key in (
            "catalog",
            "ingest.batch_log",
            "lake.quarantine",
            "features.tables.users.source",
            "features.tables.users.table",
            "features.tables.users.features.name",
            "recommend.score_pairs_table",
            "streams.rating_events.table",
            "streams.rating_events.topic",
            "silver.tables.ratings.table",
        )
    },
    "profile.tables.0": "profile.tables=[{}]",
    "maintain.tables.0": "maintain.tables=[{}]",
    "training_sets.x.table": f"training_sets.x={TABLE.replace('gold.x', '{}')}",
    "training_sets.x.rows.labels": f"training_sets.x={TABLE.replace('labels: a.b', 'labels: {}')}",
    "training_sets.x.rows.history_tables.0.table": (
        f"training_sets.x={TABLE.replace('table: a.b', 'table: {}')}"
    ),
}


@pytest.mark.parametrize("key", NAMED)
def test_a_name_that_becomes_sql_or_a_path_is_refused_at_its_key(key: str) -> None:
    for evil in ("../../etc/passwd", "a.b`; DROP TABLE c.d; --", "a.b' OR '1'='1", "a.b, c.d"):
        override = NAMED[key].replace("{}", json.dumps(evil))
        with pytest.raises(ConfigError, match=re.escape(key)):
            load_config("demo", [override])


PROD = """catalog: lake
checkpoints: /Volumes/${catalog}/a
tracking: {model: "${catalog}.gold.m"}
kafka: {ssl: null, timeout_seconds: 5}
"""


@pytest.mark.parametrize(
    ("override", "key", "near"),
    [
        ("catalog=other", "catalog", "In catalog it may change no key"),
        ("catalog=null", "catalog", ""),
        ("tracking.uri=https://x", "tracking.uri", "In tracking it may change no key"),
        ("tracking.model=other.gold.m", "tracking.model", ""),
        ("ingest.batch_log=a.b", "ingest.batch_log", "it may change ingest.streams, ingest.tri"),
        ("ingest=null", "ingest", ""),
        ("kafka.ssl={}", "kafka.ssl", "In kafka it may change kafka.timeout_seconds"),
        ("kafka={timeout_seconds: 6}", "kafka.ssl", ""),
        ("train.weight=rating", "train.weight", "it may change train.als"),
        ("allowed_overrides=[catalog]", "allowed_overrides", ""),
        ("spark.spark.jars=/evil.jar", "spark.spark.jars", ""),
        ("streams={s: {}}", "streams.s", ""),
    ],
)
def test_outside_local_set_changes_no_key_of_conf(
    conf: Path, override: str, key: str, near: str
) -> None:
    (conf / "prod.yml").write_text(PROD)
    refused = f"--set {key}: --set may change this key only in the environment local"
    with pytest.raises(ConfigError, match=re.escape(refused)) as caught:
        load_config("prod", [override], conf)
    assert near in str(caught.value)
    assert f"Change {key} in conf/prod.yml" in str(caught.value)


def test_outside_local_set_may_state_what_conf_states(conf: Path) -> None:
    (conf / "prod.yml").write_text(PROD)
    same = ["catalog=lake", "tracking.model=lake.gold.m", "checkpoints=/Volumes/lake/a"]
    chosen = [*same, "kafka.timeout_seconds=6", "train.resume=true", "train.als.rank=8"]
    config = load_config("prod", chosen, conf)
    assert (config.kafka.timeout_seconds, config.train.als.rank) == (6, 8)
    assert config.train.resume


def test_outside_local_an_unknown_key_names_the_nearest(conf: Path) -> None:
    (conf / "prod.yml").write_text(PROD)
    for override, told in (("lakhouse=x", "lakehouse"), ("ingest.triger=x", "trigger")):
        with pytest.raises(ConfigError, match=f"unknown key, did you mean {told}"):
            load_config("prod", [override], conf)


def test_names_that_conf_allows_may_be_set_and_no_others(conf: Path) -> None:
    (conf / "prod.yml").write_text("allowed_overrides: [catalog]\n" + PROD)
    config = load_config("prod", ["catalog=mine"], conf)
    assert (config.checkpoints, config.tracking.model) == ("/Volumes/mine/a", "mine.gold.m")
    with pytest.raises(ConfigError, match=r"--set tracking\.model"):
        load_config("prod", ["catalog=mine", "tracking.model=lake.gold.m"], conf)
    (conf / "prod.yml").write_text("allowed_overrides: [tracking.uri]\n" + PROD)
    with pytest.raises(ConfigError, match=r"allowed_overrides\.0: unknown value"):
        load_config("prod", conf_dir=conf)


BOMB = ", ".join(
    ["[&a0 [x, x]", *(f"&a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30))]
)


def test_set_takes_no_aliases(conf: Path) -> None:
    for value in (BOMB + "]", "{a: &x [1], b: *x}", "[&x 1, *x]", "{<<: &x {a: b}, c: *x}"):
        with pytest.raises(ConfigError, match="takes no YAML aliases"):
            load_config("local", [f"spark={value}"], conf)
    for text in ("a & b * c", "*", "&", "users*.csv", "*x", "'&x *x'"):
        found = load_config("local", [f"lakehouse={text}"], conf).lakehouse
        assert found == text.strip("'")


def test_sql_of_conf_is_checked(conf: Path) -> None:
    for key in ("train.weight", "replay.fix"):
        value = json.dumps("reflect('java.lang.System', 'getenv', 'HOME')")
        with pytest.raises(ConfigError, match=f"{key}: .*calls reflect"):
            load_config("local", [f"{key}={value}"], conf)
        (conf / "dev.yml").write_text(yaml.safe_dump({"train": {"weight": "(SELECT 1)"}}))
        with pytest.raises(ConfigError, match=r"train\.weight: .*not allowed \((Subq|Sel)"):
            load_config("dev", conf_dir=conf)


def test_an_environment_is_no_path() -> None:
    for env in ("../conf/local", "/etc/passwd", "local/../dev", "local\0", "base"):
        with pytest.raises(ConfigError, match="No environment"):
            load_config(env)


def test_a_feature_set_in_a_separate_file(tmp_path: Path) -> None:
    path = tmp_path / "people.yml"
    path.write_text("name: people\nkeys: [id]\nfeatures: {City: {kind: one_hot, min_rows: 2}}\n")
    found = load_feature_set(path)
    assert (found.name, found.keys, found.features["City"].kind) == ("people", ("id",), "one_hot")
    path.write_text("name: people\nkeys: [id]\nfeatures: {City: {kind: one_hot, min_row: 2}}\n")
    with pytest.raises(ConfigError, match=r"people\.yml.*min_row.*did you mean min_rows"):
        load_feature_set(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_feature_set(tmp_path / "none.yml")
