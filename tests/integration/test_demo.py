"""The demo's own words on a small slice: what it publishes, reads, learns and shows; twice.

Each line of it is its own story: nothing of Spark, of secrets or of the jobs' log.

And what it must not show: its secrets are in no log, table, plan, run or event log that it leaves.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.canaries import CANARY, plant_canaries
from tests.support.jvm import QUICK_JVM
from tests.support.leaks import scan
from tests.support.programs import run_program, shell_environment

from matchlake.dev.sandbox.services import sandbox_login

RATINGS = 1500
IN_TOPIC = "Records in the topic 1,800 = valid 1,533 + quarantined 267 (reconciled)"
_QUICK = (
    f"spark.driver.extraJavaOptions {QUICK_JVM}\n"
    "spark.sql.codegen.wholeStage false\nspark.sql.codegen.factoryMode NO_CODEGEN\n"
)


def demo(folder: Path, ratings: int | None = RATINGS) -> str:
    """The demo's page; beside its lakehouse, `output` holds all it printed and `events` Spark's.

    On a slice Spark interprets, and the JVM compiles quickly: nothing there runs often.
    """
    (folder / "events").mkdir(exist_ok=True)
    (folder / "conf").mkdir(exist_ok=True)
    (folder / "conf" / "spark-defaults.conf").write_text(
        f"spark.eventLog.enabled true\nspark.eventLog.compress true\n"
        f"spark.eventLog.dir file://{folder}/events\n" + (_QUICK if ratings else "")
    )
    sized = ("--ratings", str(ratings)) if ratings else ()
    environment = shell_environment(SPARK_CONF_DIR=str(folder / "conf"))
    done = run_program("matchlake", "demo", *sized, cwd=folder, environment=environment)
    (folder / "output").write_text(done.stdout + done.stderr)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return re.sub(r"\s+", " ", done.stdout)


def find_leaks(folder: Path) -> str:
    """Scans all that a demo in `folder` left, for all its secrets; the scan's closing line."""
    lake = folder / ".lakehouse"
    cloud = json.loads((lake / "cloud" / "state.json").read_text())
    planted = {name: cloud[name] for name in ("token", "platform_secret", "admin_secret")}
    planted["kafka-password"] = sandbox_login(lake).password.reveal()
    # Where secrets are: the vault's own file, and who may ask it.
    homes = [lake / "cloud" / "vault.json", lake / "cloud" / "state.json"]
    for home in homes:
        assert home.stat().st_mode & 0o777 == 0o600
    controls = plant_canaries(folder / "controls")
    found = scan([folder], {**planted, "control": CANARY}, skip=homes)
    assert found.found == {"control": controls}, "each control is found, and nothing else"
    found.unread -= controls
    # The JVM may have been writing the last of its event log when it ended, and nothing else.
    unread = {path for path in found.unread if folder / "events" not in Path(path).parents}
    assert unread == set(), "nobody could look into these to their end"
    kinds = {"zstd", "parquet", "sqlite rows"}
    ours = scan([folder / "controls"], {}).opened
    assert all(found.opened[kind] > ours[kind] for kind in kinds), "events, tables, runs"
    assert set(scan([lake / "cloud"], planted).found) == set(planted), "it would have found them"
    line = found.closing_line(planted)
    return f"{line}; control: {len(found.found['control'])} of {len(controls)} canaries found"


@pytest.mark.timeout(900)
def test_the_demo_runs_end_to_end(tmp_path: Path) -> None:
    page = demo(tmp_path)
    assert "1,800 messages sent, 0 were there already" in page
    assert IN_TOPIC in page
    assert "silver.interactions 1,500" in page
    assert re.search(r"champion 0\.\d{4}", page)
    assert "matchlake sql --env demo" in page
    assert "Nothing is left running" in page
    state = json.loads((tmp_path / ".lakehouse" / "kafka" / "state.json").read_text())
    assert (state["phase"], state["asks_login"]) == ("stopped", True)
    strangers = foreign_lines((tmp_path / "output").read_text())
    # The chains of so few ratings need more sweeps than a test has time for, and the fit says so.
    assert [line for line in strangers if "chains have not mixed" not in line] == []


def foreign_lines(output: str) -> list[str]:
    """The lines before the results that are no step's, and all of a log, of Spark, of JSON."""
    before, _, after = output.partition("results")
    steps = re.compile(r"\s*\d+/13 \S.* \d+\.\d s( |$)|\s{40}|\s*─*\s*$")
    logs = re.compile(r"\b(WARN(ING)?|INFO|ERROR|DEBUG)\b|^\{|org\.apache|Traceback|secret")
    strangers = [line for line in before.splitlines() if not steps.match(line)]
    return strangers + [line for line in after.splitlines() if logs.search(line)]


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_second_demo_publishes_and_ingests_nothing(tmp_path: Path) -> None:
    demo(tmp_path)
    page = demo(tmp_path)
    assert "0 messages sent, 1,800 were there already" in page
    assert IN_TOPIC in page


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_whole_demo_leaves_no_secret_behind(tmp_path: Path, tell: Callable[[str], None]) -> None:
    demo(tmp_path, None)
    assert foreign_lines((tmp_path / "output").read_text()) == []
    tell(find_leaks(tmp_path))
