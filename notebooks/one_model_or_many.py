# Databricks notebook source
# MAGIC %md
# MAGIC # One model with a one-hot column, or a model for each category?
# MAGIC
# MAGIC Does it pay to learn each occupation's taste apart? A model of its own has fewer rows to learn from; one
# MAGIC model for all has to treat everything but the column's constant alike. Which is better is for held-out
# MAGIC rows to say, category by category: `compare_split` fits both in Spark's workers.

# COMMAND ----------

# MAGIC %pip install --quiet ..

# COMMAND ----------

from matchlake import start_notebook

runtime = start_notebook("one_model_or_many")
lake = runtime.lakehouse

# COMMAND ----------

# MAGIC %md
# MAGIC ## The question: how high does a user rate on average?

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
# MAGIC ## Both answers, by occupation
# MAGIC
# MAGIC The last row, without a category, is over all users whom both could judge.

# COMMAND ----------

from matchlake.features.least_squares import least_squares
from matchlake.features.per_category import compare_split

found = compare_split(train, test, (model, "occupation"), "mean_rating", least_squares).toPandas()
found.sort_values("rows", ascending=False)

# COMMAND ----------

from matchlake.training.notebook_plots import pairs_of_bars

judged = found.dropna().sort_values("rows", ascending=False)
pairs_of_bars(
    list(judged["category"]),
    {"a model each": list(judged["separate_error"]), "one model": list(judged["one_error"])},
    "mean squared error on held-out users",
)

# COMMAND ----------

# MAGIC %md
# MAGIC Where the bars of a model each stand higher, the category had too few users to learn from alone: the
# MAGIC one-hot column is the better choice, and needs one model to train, register and watch instead of many.
