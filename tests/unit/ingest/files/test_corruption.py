"""Errors of Spark as one sentence, and which of them belong to a file."""

import pytest
from pyspark.errors import PySparkException

from matchlake.ingest.files.corruption import CORRUPT, UNREADABLE, Fault, fault_of, sentence_of

TRACE = "\tat org.apache.spark.sql.X.y(X.scala:1)\n"
MISSING = (
    "[FAILED_READ_FILE.FILE_NOT_EXIST] Encountered error while reading file file:/a.csv. File does "
    f"not exist. SQLSTATE: KD001\n\nJVM stacktrace:\norg.apache.spark.SparkException: x\n{TRACE}"
    f"Caused by: java.io.FileNotFoundException: /a.csv is gone\n{TRACE}"
)
TORN = (
    f"Job aborted\n{TRACE}Caused by: java.io.EOFException: Unexpected end of input stream\n{TRACE}"
)
PYTHON = 'Traceback (most recent call last):\n  File "a.py", line 1\nValueError: no such thing\n'


def test_sentence_has_no_trace() -> None:
    assert sentence_of(PySparkException(MISSING)).endswith("SQLSTATE: KD001 (/a.csv is gone)")
    assert sentence_of(PySparkException(PYTHON)) == "ValueError: no such thing"
    assert sentence_of(PySparkException("")) == "PySparkException"
    assert len(sentence_of(PySparkException("x" * 5000))) < 400
    for text in (MISSING, TORN, PYTHON):
        assert "at org" not in sentence_of(PySparkException(text))
        assert "Traceback" not in sentence_of(PySparkException(text))


def test_fault_of_a_file() -> None:
    torn = Fault(CORRUPT, "Unexpected end of input stream")
    assert fault_of(PySparkException(TORN)) == torn
    assert fault_of(PySparkException(MISSING)).status == UNREADABLE


def test_fault_of_a_file_whatever_the_trace_names() -> None:
    trace = f"{MISSING}\tat org.apache.spark.sql.Connection.timeout(X.scala:401)\n"
    assert fault_of(PySparkException(trace)).status == UNREADABLE


def test_fault_of_a_storage_is_raised() -> None:
    for text in ("FAILED_READ_FILE Connection refused", "java.net.UnknownHostException: x", "boom"):
        with pytest.raises(PySparkException, match=text):
            fault_of(PySparkException(text))
