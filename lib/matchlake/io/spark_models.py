"""The trees of a model of pyspark.ml, read from the files that Spark writes of it."""

import shutil
import uuid
from typing import Any

import pandas as pd
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from matchlake.io.storage import is_local

_COLUMNS = ("id", "prediction", "impurityStats", "leftChild", "rightChild", "split")


def saved_trees(spark: SparkSession, model: Any, folder: str) -> pd.DataFrame:
    """The nodes of all trees, by tree and node: prediction, impurityStats, children and split.

    Spark writes the model below `folder` and reads it there. The files have no rows; they are
    removed if Python can open the folder. Two Spark jobs.
    """
    path = f"{folder.rstrip('/')}/spark_models/{uuid.uuid4().hex}"
    try:
        model.write().save(path)
        saved = spark.read.parquet(f"{path}/data")
        if "nodeData" in saved.columns:
            saved = saved.select("treeID", "nodeData.*")
        else:
            saved = saved.withColumn("treeID", F.lit(0))
        nodes = saved.select("treeID", *_COLUMNS, F.col("split.featureIndex").alias("feature"))
        threshold = F.get("split.leftCategoriesOrThreshold", F.lit(0))  # a leaf has a null split
        found = nodes.withColumn("threshold", threshold).drop("split")
        rows: pd.DataFrame = found.toPandas().sort_values(["treeID", "id"], ignore_index=True)
    finally:
        if is_local(path):
            shutil.rmtree(path, ignore_errors=True)
    return rows
