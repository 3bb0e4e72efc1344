# Databricks notebook source
# MAGIC %md
# MAGIC # A classifier, scored in five ways
# MAGIC
# MAGIC This notebook trains a model beside the recommender: which items are liked, by their genres and year. Then it
# MAGIC scores the same items in Spark, in SQL, in NumPy, by ONNX and after a round trip through JSON, and compares the
# MAGIC numbers. On a local machine, run `matchlake demo` first. The notebook writes nothing.
# MAGIC The job `train_model` does the same for the models below `models` in conf.

# COMMAND ----------

# MAGIC %pip install --quiet -r ../requirements-job.lock

# COMMAND ----------

# MAGIC %pip install --quiet --no-deps ..

# COMMAND ----------

from matchlake import start_notebook

runtime = start_notebook("models")
lake, spark = runtime.lakehouse, runtime.spark

# COMMAND ----------

# MAGIC %md
# MAGIC ## The rows: one per item with ten ratings or more
# MAGIC
# MAGIC An item is liked if its mean rating is 3.5 or higher.

# COMMAND ----------

from pyspark.sql import functions as F

means = (
    lake.read("silver.interactions")
    .groupBy("item_id")
    .agg(F.avg("rating").alias("mean_rating"), F.count("*").alias("ratings"))
    .where("ratings >= 10")
)
items = lake.read("bronze.items").join(means, "item_id")
items = items.withColumn("liked", F.expr("IF(mean_rating >= 3.5, 'yes', 'no')"))
items.groupBy("liked").count().toPandas()

# COMMAND ----------

# MAGIC %md
# MAGIC ## Features and model
# MAGIC
# MAGIC The features are fitted once. A learner gets them as a matrix, and returns a head: the coefficients of the
# MAGIC model as plain data. Features and head together are the scoring model.

# COMMAND ----------

from matchlake import FeatureSet, MinMax, MultiHot, fit_features
from matchlake.learners.params import SklearnParams
from matchlake.learners.protocol import TrainingData
from matchlake.learners.registry import fit_head
from matchlake.model_store.scoring_model import ScoringModel

declared = FeatureSet(
    name="liked_items",
    keys=("item_id",),
    features={
        "genres": MultiHot(handle_null="indicator"),
        "year_scaled": MinMax(column="year", handle_null="mean"),
    },
)
features = fit_features(items, declared)
table = items.orderBy("item_id").toPandas()
columns = tuple(output.name for output in features.outputs())
data = TrainingData(
    features.transform_numpy({name: table[name].to_numpy() for name in ("genres", "year")}),
    columns,
    table["liked"].to_numpy(),
)
head = fit_head(data, SklearnParams(estimator="LogisticRegression"), "classification", seed=1)
model = ScoringModel(name="liked_items", task="classification", features=features, head=head)
model.outputs()

# COMMAND ----------

# MAGIC %md
# MAGIC ## Five ways to score
# MAGIC
# MAGIC Spark and SQL need no Python workers: the model is an expression. ONNX and JSON leave this package behind.

# COMMAND ----------

import numpy as np

from matchlake.model_store.onnx_session import score_onnx

inputs = {name: table[name].to_numpy() for name in ("genres", "year")}
items.createOrReplaceTempView("items_to_score")
again = ScoringModel.from_json(model.to_json())
by_sql = spark.sql(model.to_sql("items_to_score")).orderBy("item_id").toPandas()
by_spark = model.transform(items).orderBy("item_id").toPandas()
found = {
    "NumPy": model.score_numpy(inputs)["probabilities"],
    "Spark": np.stack(by_spark["probabilities"].to_numpy()),
    "SQL": np.stack(by_sql["probabilities"].to_numpy()),
    "ONNX": score_onnx(model.to_onnx(), model.onnx_inputs(inputs))["probabilities"],
    "JSON": again.score_numpy(inputs)["probabilities"],
}

# COMMAND ----------

# MAGIC %md
# MAGIC ## The numbers are equal but for the last digit

# COMMAND ----------

import pandas as pd

differences = {name: np.abs(each - found["NumPy"]).max() for name, each in found.items()}
pd.Series(differences, name="largest difference from NumPy").to_frame()

# COMMAND ----------

# MAGIC %md
# MAGIC ## Which features count

# COMMAND ----------

weights = pd.Series(head.weights[-1], index=list(columns)).sort_values()
weights.plot.barh(figsize=(7, 6), xlabel="coefficient: above 0 speaks for `liked`").figure
