"""A job's arguments, and how a job ends."""

import logging
import runpy
from pathlib import Path

import pytest

from matchlake.config import JobConfig, project_conf
from matchlake.errors import ConfigError
from matchlake.runtime import Runtime, job_arguments, quick_to_start, run_job


def never(_runtime: Runtime) -> None:
    pytest.fail("the job must not start")


def test_every_job_takes_the_same_arguments() -> None:
    args = job_arguments("a", ["--env", "dev", "--set", "a=1", "--set", "b.c=2"])
    assert (args.env, args.set, args.conf_dir) == ("dev", ["a=1", "b.c=2"], None)


def test_an_expected_error_is_one_line_and_exit_code_1(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        assert run_job("demo_job", never, ["--env", "nowhere"]) == 1
    (record,) = caplog.records
    assert record.getMessage().startswith("demo_job failed: ConfigError: No environment 'nowhere'")
    assert record.exc_info is None


@pytest.fixture
def on_databricks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "17.3")


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """The script of a job in a project with conf, beside a folder with another conf."""
    for folder in ("project/jobs", "project/conf", "own"):
        (tmp_path / folder).mkdir(parents=True)
    for folder in ("project/conf", "own"):
        (tmp_path / folder / "base.yml").touch()
    path = tmp_path / "project" / "jobs" / "a.py"
    path.write_text("def run(runtime):\n    raise AssertionError\n")
    return path


def test_a_local_job_may_read_any_conf(script: Path, tmp_path: Path) -> None:
    assert project_conf(script, None) is None
    assert project_conf(script, tmp_path / "own") == tmp_path / "own"


@pytest.mark.usefixtures("on_databricks")
def test_a_job_on_databricks_reads_the_conf_of_its_project(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = tmp_path / "project" / "conf"
    (tmp_path / "link").symlink_to(tmp_path / "project")
    for given in (None, conf, conf / ".." / "conf", tmp_path / "link" / "conf"):
        assert project_conf(script, given) == conf
    assert project_conf(tmp_path / "link" / "jobs" / "a.py", conf) == conf
    monkeypatch.chdir(script.parent)
    assert project_conf(Path("<command-1>"), conf) == conf


@pytest.mark.usefixtures("on_databricks")
def test_a_job_on_databricks_refuses_another_conf(script: Path, tmp_path: Path) -> None:
    (tmp_path / "project" / "mine").symlink_to(tmp_path / "own")
    others = ("own", "project", "project/mine", "project/conf/../../own", "nowhere")
    for given in (tmp_path / other for other in others):
        with pytest.raises(ConfigError, match=r"on Databricks a job reads .*project/conf"):
            project_conf(script, given)


@pytest.mark.usefixtures("on_databricks")
def test_run_job_finds_the_project_by_the_script(
    script: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = runpy.run_path(str(script))["run"]
    own = ["--conf-dir", str(tmp_path / "own")]
    with caplog.at_level(logging.ERROR):
        assert run_job("demo_job", run, ["--env", "dev", *own]) == 1
        assert "own: on Databricks a job reads the conf of its own project" in caplog.text
        conf = ["--conf-dir", str(tmp_path / "project" / "conf")]
        assert run_job("demo_job", run, ["--env", "dev", *conf]) == 1
    assert "No environment 'dev'" in caplog.records[-1].getMessage()


def test_an_unknown_argument_ends_with_usage() -> None:
    with pytest.raises(SystemExit) as ended:
        run_job("demo_job", never, ["--evn", "local"])
    assert ended.value.code == 2


def test_a_quick_session_reads_an_archive_of_classes_only_if_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = JobConfig(env="local", lakehouse="here", checkpoints="here")
    key = "spark.driver.extraJavaOptions"
    for folder, is_read in (("plain", True), ("with blank", False)):
        archive = tmp_path / folder / "spark.jsa"
        monkeypatch.setattr("matchlake.runtime.class_archive", lambda path=archive: path)
        assert "SharedArchiveFile" not in quick_to_start(config).spark[key]
        archive.parent.mkdir()
        archive.touch()
        option = f"-XX:SharedArchiveFile={archive}"
        assert (option in quick_to_start(config).spark[key]) == is_read
    own = config.model_copy(update={"spark": {key: "-Xss4m"}})
    assert quick_to_start(own).spark[key] == "-Xss4m"
    assert quick_to_start(config.model_copy(update={"lakehouse": None})).spark == {}
