"""Frames that feature tests share, and what plain Python makes of them."""

from pyspark.sql import DataFrame, SparkSession

PEOPLE_SCHEMA = "id INT, city STRING, age INT, height DOUBLE, tags ARRAY<STRING>"
NAN, INF = float("nan"), float("inf")
PEOPLE = [
    (1, "BLR", 20, 1.5, ["new", "Sci-Fi"]),
    (2, "DEL", 40, 2.0, []),
    (3, "BLR", 30, NAN, None),
    (4, None, None, None, ["Sci-Fi", None, "Sci-Fi"]),
    (5, "", 60, INF, ["old"]),
    (6, "São Paulo", 25, 1.75, ["new", "Sci-Fi"]),
    (7, "sao paulo", 35, -INF, [None]),
]


def people(spark: SparkSession) -> DataFrame:
    """Seven people, with nulls, NaN, infinities, an empty text and an accent."""
    return spark.createDataFrame(PEOPLE, PEOPLE_SCHEMA)
