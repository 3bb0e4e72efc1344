"""A secret handed to Spark or MLflow by mistake: refused or masked, and nowhere on disk."""

import json
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from tests.support.leaks import scan
from tests.support.saved_models import tracker_in

from matchlake.io.secrets import Secret

VALUE = 'canary-"handed-over"-by\'mistake'


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
def test_mlflow_keeps_a_mask(tmp_path: Path) -> None:
    secret = Secret(VALUE)
    tracker = tracker_in(tmp_path)
    with tracker.run("mistake") as run:
        run.log_params({"login": {"password": secret}, "all": [secret]})
    result = scan([tmp_path], {"canary": VALUE, "mask": "[secret]"})
    assert set(result.found) == {"mask"}
