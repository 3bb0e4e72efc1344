"""Every key of conf set to a canary: outside `local` no credential reaches it."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from tests.contract.test_settable import FIXED, SETTABLE, every_key
from tests.support.sources import ROOT

from matchlake.config import JobConfig, load_config
from matchlake.errors import MatchlakeError, ModelError
from matchlake.io.mlflow_tracking import Tracker
from matchlake.io.secrets import CachedSecrets, secret_chain, secret_references
from matchlake.io.storage import storage_settings
from matchlake.io.yaml_files import read_yaml
from matchlake.runtime import run_job

pytestmark = pytest.mark.soak

TOKEN, SECRET = "canary-token", "canary-secret"
LOGIN = {"mechanism": "SCRAM-SHA-512", "username": "u", "password": {"scope": "ours", "key": "a"}}
ACCOUNT = {"tenant": "t", "client_id": "c", "client_secret": {"scope": "ours", "key": "a"}}


@dataclass
class Canary:
    """A server on loopback that notes what it is told."""

    address: str
    seen: list[str] = field(default_factory=list)


@pytest.fixture
def canary() -> Iterator[Canary]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.seen.append(f"{self.path} {self.headers}")
            self.send_error(404)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_args: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made = Canary(f"127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", TOKEN)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MATCHLAKE_SECRET_OURS__A", SECRET)


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    folder = tmp_path / "conf"
    folder.mkdir()
    (folder / "base.yml").write_bytes((ROOT / "conf" / "base.yml").read_bytes())
    own = {
        "lakehouse": str(tmp_path / "lake"),
        "checkpoints": str(tmp_path / "lake" / "checkpoints"),
        "secrets": {"stores": ["environment"]},
        "kafka": {"bootstrap_servers": "127.0.0.1:9", "sasl": LOGIN},
        "storage": {"accounts": {"mylake": ACCOUNT}},
    }
    for env in ("local", "prod"):
        (folder / f"{env}.yml").write_text(yaml.safe_dump(own))
    (tmp_path / "lake").mkdir()
    return folder


def use(config: JobConfig) -> None:
    """Uses what a job would: the tracking store, every secret, the settings of storage."""
    secrets = CachedSecrets(secret_chain(config.secrets, config.lakehouse), 300)
    for ref in secret_references(config).values():
        assert secrets.get(ref).reveal() == SECRET
    settings = storage_settings(config.storage, secrets)
    assert all("canary" not in key and "127.0.0.1" not in key for key in settings)
    with suppress(ModelError):
        Tracker(config.tracking, config.lakehouse).champion()


def test_in_local_the_canary_sees_the_token(canary: Canary, conf: Path) -> None:
    config = load_config("local", [f"tracking.uri=http://{canary.address}"], conf)
    use(config)
    assert any(f"Bearer {TOKEN}" in text for text in canary.seen)


def test_elsewhere_no_override_brings_it_a_credential(
    canary: Canary, conf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = load_config("prod", [], conf)
    trap = tmp_path / "trap"
    passed: dict[str, JobConfig] = {}
    key = ""

    def start(config: JobConfig, _name: str) -> SimpleNamespace:
        if config != own:
            passed[key] = config
        if config.tracking != own.tracking or config.storage != own.storage:
            use(config)
        spark = SimpleNamespace(stop=lambda: None, sparkContext=None)
        return SimpleNamespace(spark=spark, config=config)

    # Reading YAML takes most of the time of a load.
    monkeypatch.setattr("matchlake.config.layers.read_yaml", cache(read_yaml))
    monkeypatch.setattr("matchlake.runtime.start", start)
    monkeypatch.setattr("matchlake.runtime.log_executors", lambda _spark: None)
    values = (f"http://{canary.address}", canary.address, str(trap), f"file://{trap}", "1", "[x]")
    for key in every_key():
        for value in values:
            arguments = ["--env", "prod", "--conf-dir", str(conf), "--set", f"{key}={value}"]
            with suppress(MatchlakeError):
                run_job("probe", lambda _runtime: None, arguments)
    assert passed, "harmless keys are taken"
    assert set(passed) <= SETTABLE
    assert not set(passed) & FIXED
    for config in passed.values():
        assert config.model_dump(include={"tracking", "storage", "kafka", "streams", "lake"}) == {
            **own.model_dump(include={"tracking", "storage", "streams"}),
            "kafka": own.kafka.model_dump() | {"timeout_seconds": config.kafka.timeout_seconds},
            "lake": own.lake.model_dump() | {"reload": config.lake.reload},
        }
    use(own)
    assert canary.seen == []
    assert not trap.exists()
