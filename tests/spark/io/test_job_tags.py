import threading
import time

import pytest
from pyspark.sql import SparkSession

from matchlake.io.job_tags import cancel_jobs, job_tag


@pytest.mark.local_only
def test_jobs_with_a_tag_are_cancelled_from_another_thread(spark: SparkSession) -> None:
    ended: dict[str, str] = {}

    def run(tag: str, rows: int) -> None:
        try:
            with job_tag(spark, tag):
                spark.range(rows).selectExpr("sum(id % 7)").collect()
            ended[tag] = "finished"
        except Exception as error:  # noqa: BLE001 - of Spark or of py4j
            ended[tag] = str(error)

    threads = [
        threading.Thread(target=run, args=each, daemon=True)
        for each in (("cancelled", 10**12), ("kept", 10))
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 60
    while "cancelled" not in ended and time.monotonic() < deadline:
        cancel_jobs(spark, "cancelled")  # again, in case its job had not begun
        threads[0].join(0.5)
    threads[1].join(60)
    assert "SPARK_JOB_CANCELLED" in ended["cancelled"]
    assert ended["kept"] == "finished"
