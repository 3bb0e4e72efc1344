"""The failures of single sources: all are told, and none keeps another source from loading."""

import pytest
from pyspark.errors import PySparkException

from matchlake.errors import SchemaError, SourceError, TableError
from matchlake.ingest.files.failures import SourceFailures


def test_failures_none_raises_nothing() -> None:
    SourceFailures().raise_kept()


def test_failures_one_keeps_its_type() -> None:
    failures = SourceFailures()
    with failures.kept("users"):
        raise TableError("bronze.users is not as declared.")
    with pytest.raises(TableError, match=r"^users: bronze\.users is not as declared\.$"):
        failures.raise_kept()
    failures = SourceFailures()
    failures.refuse("users", ["a.csv is refused"])
    with pytest.raises(SchemaError, match=r"^users: a\.csv is refused$"):
        failures.raise_kept()


def test_failures_several_have_a_sentence_each(caplog: pytest.LogCaptureFixture) -> None:
    failures = SourceFailures()
    trace = "[X] boom. SQLSTATE: 1\n\tat org.apache.X.y(X.scala:1)\n"
    with failures.kept("users"):
        raise PySparkException(trace)
    with failures.kept("items"):
        raise SourceError("items: no file.")
    with pytest.raises(SourceError) as error:
        failures.raise_kept()
    lines = str(error.value).splitlines()
    assert lines[0] == "2 failures; everything else is loaded:"
    assert lines[1].startswith("- users: [X] boom. SQLSTATE: 1 Correct the cause and run the job")
    assert lines[2] == "- items: no file."
    assert "at org.apache" not in caplog.text


def test_failures_of_the_program_are_not_kept() -> None:
    with pytest.raises(ZeroDivisionError), SourceFailures().kept("users"):
        raise ZeroDivisionError
