"""A job's arguments, and how a job ends."""

import logging

import pytest

from matchlake.runtime import Runtime, job_arguments, run_job


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


def test_an_unknown_argument_ends_with_usage() -> None:
    with pytest.raises(SystemExit) as ended:
        run_job("demo_job", never, ["--evn", "local"])
    assert ended.value.code == 2
