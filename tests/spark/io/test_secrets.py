"""A secret handed to Spark or MLflow by mistake: refused or masked, and nowhere on disk."""

import json
import logging
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import cloudpickle
import pytest
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from tests.support.leaks import scan
from tests.support.saved_models import tracker_in

from matchlake.io.secrets import Secret
from matchlake.io.secrets.masking import MaskingFilter

VALUE = 'canary-"handed-over"-by\'mistake'
SIMPLE = "canary-handed-over"


def mistakes(spark: SparkSession, secret: Secret, folder: Path) -> dict[str, Callable[[], Any]]:
    rows = spark.range(3)

    def in_a_worker(value: int) -> str:
        return f"{secret.reveal()}{value}"

    return {
        "a row": lambda: spark.createDataFrame([(secret,)], "a string").collect(),
        "a literal": lambda: rows.select(F.lit(secret)).collect(),
        "an option": lambda: rows.write.option("a", secret).json(str(folder / "option")),  # type: ignore[arg-type]
        "a setting": lambda: spark.conf.set("spark.sql.session.timeZone", secret),  # type: ignore[arg-type]
        "SQL": lambda: spark.sql(f"SELECT {secret} FROM nowhere"),
        "SQL's argument": lambda: spark.sql("SELECT :a", {"a": secret}).collect(),
        "a closure": lambda: rows.select(F.udf(in_a_worker)("id")).collect(),
        "a pickle": lambda: cloudpickle.dumps(secret.reveal),
        "JSON": lambda: json.dumps({"a": secret}),
    }


def test_spark_does_not_carry_it(spark: SparkSession, tmp_path: Path) -> None:
    secret = Secret(VALUE)
    zone = spark.conf.get("spark.sql.session.timeZone")
    for name, mistake in mistakes(spark, secret, tmp_path).items():
        try:
            told = str(mistake())
        except Exception as error:  # noqa: BLE001 - whatever is raised must not tell
            told = "".join(traceback.format_exception(error))
        assert "canary" not in told, name
    assert spark.conf.get("spark.sql.session.timeZone") == zone
    assert scan([tmp_path], {"canary": VALUE}).found == {}


@pytest.mark.local_only
def test_the_log_masks_secrets_in_messages_of_java(
    spark: SparkSession, caplog: pytest.LogCaptureFixture
) -> None:
    secret, jvm = Secret(VALUE), cast("Any", spark._jvm)
    wrong: dict[str, Callable[[], Any]] = {
        "an exception of Java": lambda: jvm.java.lang.Integer.parseInt(secret.reveal()),
        "an error of Spark": lambda: spark.sql(f"SELECT CAST('{SIMPLE}' AS INT)").collect(),
    }
    Secret(SIMPLE)
    caplog.handler.addFilter(MaskingFilter())
    for name, mistake in wrong.items():
        caplog.clear()
        with pytest.raises((Py4JJavaError, PySparkException)) as caught:
            mistake()
        assert "canary" in str(caught.value), "the value is in what is logged"
        log = logging.getLogger("matchlake.mistakes")
        log.error("failed: %s", caught.value, exc_info=caught.value)
        assert "[secret]" in caplog.text, name
        assert "canary" not in caplog.text, name
    caplog.handler.filters.clear()


@pytest.mark.local_only
def test_mlflow_keeps_a_mask(tmp_path: Path) -> None:
    secret = Secret(VALUE)
    tracker = tracker_in(tmp_path)
    with tracker.run("mistake") as run:
        run.log_params({"login": {"password": secret}, "all": [secret]})
    result = scan([tmp_path], {"canary": VALUE, "mask": "[secret]"})
    assert set(result.found) == {"mask"}
