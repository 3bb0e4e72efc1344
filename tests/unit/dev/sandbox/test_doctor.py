"""The doctor answers every question whatever is missing, and the commands say it."""

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import typer
from tests.support.sandbox_fakes import fake_java, leave_state, shutil_usage
from typer.testing import CliRunner

from matchlake.dev.sandbox import doctor
from matchlake.dev.sandbox.broker import BrokerState
from matchlake.dev.sandbox.cloud.process import CloudState
from matchlake.dev.sandbox.commands import doctor as doctor_command
from matchlake.dev.sandbox.commands import sandbox_app
from matchlake.dev.sandbox.doctor import Check, checks
from matchlake.dev.sandbox.services import Sandbox


def check(name: str, root: Path) -> Check:
    return next(one for one in checks(root) if one.name == name)


def answer(*words: str) -> str:
    app = typer.Typer()
    app.add_typer(sandbox_app, name="sandbox")
    app.command()(doctor_command)
    result = CliRunner().invoke(app, [*words], terminal_width=400)
    return f"{result.exit_code} {' '.join(result.output.split())}"


def test_a_whole_environment_is_well(tmp_path: Path) -> None:
    found = checks(tmp_path / "lake")
    assert [one.name for one in found if not one.ok] == []
    assert len({one.name for one in found}) == len(found) == 15
    assert not (tmp_path / "lake").exists(), "looking leaves nothing behind"


def test_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    missing = check("Java", tmp_path)
    assert not missing.ok
    assert missing.todo.startswith("No Java was found on PATH")

    fake_java(tmp_path / "bin", 'java version "1.8.0_292"')
    assert "is Java 8" in check("Java", tmp_path).todo

    fake_java(tmp_path / "bin", 'openjdk version "21.0.1" 2023')
    stripped = check("Java", tmp_path)
    assert (stripped.ok, stripped.found) == (False, f"21 at {tmp_path}/bin/java")
    assert "install a full JRE or JDK" in stripped.todo

    fake_java(tmp_path / "bin", 'openjdk version "21.0.1" 2023\njdk.incubator.vector@21')
    assert check("Java", tmp_path) == Check("Java", ok=True, found=f"21 at {tmp_path}/bin/java")


def test_packages_and_jars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_: str) -> str:
        raise PackageNotFoundError

    monkeypatch.setattr(doctor, "version", absent)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    for name in ("pyspark", "delta-spark", "mlflow"):
        assert check(name, tmp_path) == Check(
            name, ok=False, found="not installed", todo="Run `make install`."
        )
    assert check("connector jars", tmp_path).todo.startswith("pyspark is not installed")
    assert check("data set", tmp_path).todo.startswith("MovieLens-100K is not in this env")


def test_missing_broker_jars_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    found = check("broker jars", tmp_path)
    assert not found.ok
    assert found.found.startswith("0 of ")
    assert found.todo == "Run `make install` with network."


def test_disk_memory_and_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil_usage(free=2**30))
    disk = check("disk", tmp_path / "not" / "there" / "yet")
    assert (disk.ok, disk.found) == (False, "1.0 GiB free")
    assert disk.todo.startswith("2 GiB are needed. Free some")
    memory = type("Memory", (), {"total": 3 * 2**30})()
    monkeypatch.setattr("psutil.virtual_memory", lambda: memory)
    assert check("memory", tmp_path).found == "3.0 GiB in all"
    assert not check("memory", tmp_path).ok
    monkeypatch.setattr("psutil.Process.cpu_affinity", lambda _: [0])
    assert (check("cores", tmp_path).ok, check("cores", tmp_path).found) == (False, "1")


def test_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    folder = check("folder", tmp_path)
    assert (folder.ok, folder.found) == (False, f"{tmp_path}: Permission denied")


def test_broker_and_ports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check("broker", tmp_path).found == "never started here"
    leave_state(tmp_path, pid=1)
    assert check("broker", tmp_path).found == "ended without being stopped, its data kept"
    monkeypatch.setattr(doctor, "is_port_free", lambda port: port != 21_001)
    ports = check("ports", tmp_path)
    assert ports.ok
    assert ports.found.startswith("21001 is now taken by ")
    assert ports.todo == "Another free one will be chosen."
    running = BrokerState("running", 21_000, 21_001, 4711, 1.0)
    monkeypatch.setattr(doctor, "broker_status", lambda _: running)
    assert check("broker", tmp_path).found == "runs on 127.0.0.1:21000 as process 4711"
    assert check("ports", tmp_path).found == "21000 and 21001, the broker's own"


def test_kernel_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert check("kernel cache", tmp_path) == Check("kernel cache", ok=True, found=str(tmp_path))
    monkeypatch.setattr("os.access", lambda *_: False)
    assert "Set NUMBA_CACHE_DIR" in check("kernel cache", tmp_path).todo
    tmp_path.chmod(0o777)
    shared = check("kernel cache", tmp_path)
    assert not shared.ok
    assert "others can write to it (mode 777)" in shared.found


def test_unreadable_state_stops_no_other_check(tmp_path: Path) -> None:
    leave_state(tmp_path, unknown=1)
    assert check("broker", tmp_path).ok
    assert check("Python", tmp_path).ok


def test_doctor_command_shows_all_and_fails_where_something_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = ["--root", str(tmp_path)]
    assert answer("doctor", *root).startswith("0 what found to do ok Python 3.")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    shown = answer("doctor", *root)
    assert shown.startswith("1 what found to do")
    assert "MISSING Java" in shown


def test_status_and_stop_report_the_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = ["--root", str(tmp_path)]
    assert answer("sandbox", "status", *root) == f"3 No broker was ever started in {tmp_path}."
    assert answer("sandbox", "stop", *root).startswith(f"0 No broker ran in {tmp_path}")
    leave_state(tmp_path)
    assert answer("sandbox", "status", *root).startswith("3 The broker ended without being stopped")
    assert answer("sandbox", "stop", *root).startswith("0 No broker ran")
    assert answer("sandbox", "status", *root) == "3 The broker is stopped; its data is kept."
    running = BrokerState("running", 21_000, 21_001, 4711, 1.0)
    cloud = CloudState(22_000, 22_001, "", "", "")
    started = Sandbox(running, cloud)
    monkeypatch.setattr("matchlake.dev.sandbox.commands.broker_status", lambda *_: running)
    monkeypatch.setattr("matchlake.dev.sandbox.commands.start_sandbox", lambda *_, **__: started)
    where = "on 127.0.0.1:21000 (process 4711)."
    assert answer("sandbox", "status", *root) == f"0 The broker runs {where}"
    vault = "Key Vault: https://127.0.0.1:22000; workspace: http://127.0.0.1:22001."
    assert answer("sandbox", "start", *root) == f"0 The broker already runs {where} {vault}"
