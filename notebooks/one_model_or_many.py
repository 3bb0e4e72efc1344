# Databricks notebook source
# MAGIC %md
# MAGIC # One model with a one-hot column, or one model per category?
# MAGIC
# MAGIC Is one model per occupation better than one model for all? A model per occupation has fewer rows to learn
# MAGIC from. One model for all uses the same weights for every occupation, except for the constant of the one-hot
# MAGIC column. `compare_split` fits both on Spark's executors and measures their errors on held-out rows, per
# MAGIC category.

# COMMAND ----------

# MAGIC %pip install --quiet -r ../requirements-job.lock

# COMMAND ----------

# MAGIC %pip install --quiet --no-deps ..

# COMMAND ----------

from matchlake import start_notebook

runtime = start_notebook("one_model_or_many")
lake = runtime.lakehouse

# COMMAND ----------

# MAGIC %md
# MAGIC ## The target: the average rating of a user

# COMMAND ----------

from pyspark.sql import functions as F

from matchlake.features.fit import fit_features

means = (
    lake.read("silver.interactions").groupBy("user_id").agg(F.avg("rating").alias("mean_rating"))
)
users = lake.read("bronze.users").join(means, "user_id")
train, test = users.randomSplit([0.7, 0.3], seed=7)
model = fit_features(train, runtime.config.features.tables["users"].features)

# COMMAND ----------

# MAGIC %md
# MAGIC ## The errors per occupation
# MAGIC
# MAGIC The row without a category is the error over all users that both could predict.

# COMMAND ----------

from matchlake.features.least_squares import least_squares
from matchlake.features.per_category import compare_split

errors = compare_split(train, test, (model, "occupation"), "mean_rating", least_squares).toPandas()
errors.sort_values("rows", ascending=False)

# COMMAND ----------

from matchlake.training.notebook_plots import pairs_of_bars

compared = errors.dropna().sort_values("rows", ascending=False)
pairs_of_bars(
    list(compared["category"]),
    {
        "one model per category": list(compared["separate_error"]),
        "one model for all": list(compared["one_error"]),
    },
    "Mean squared error on held-out users",
)

# COMMAND ----------

# MAGIC %md
# MAGIC If the error of the separate model is higher, the category had too few users for a model of its own. Then
# MAGIC the one-hot column is the better choice. It also needs only one model to train, register and monitor.
