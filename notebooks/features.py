# Databricks notebook source
# MAGIC %md
# MAGIC # Features, step by step
# MAGIC
# MAGIC A feature set is declared in conf and fitted in one Spark job. The fitted state is plain data. It computes
# MAGIC the columns in Spark, renders SQL for other engines, and computes the vector of one row in a service.

# COMMAND ----------

# MAGIC %pip install --quiet -r ../requirements-job.lock

# COMMAND ----------

# MAGIC %pip install --quiet --no-deps ..

# COMMAND ----------

from matchlake import start_notebook

runtime = start_notebook("features")
lake = runtime.lakehouse

# COMMAND ----------

from matchlake.features.fit import fit_features

users = lake.read("bronze.users")
declared = runtime.config.features.tables["users"].features
declared

# COMMAND ----------

# MAGIC %md
# MAGIC ## Fit: one pass over the table

# COMMAND ----------

model = fit_features(users, declared)
[output.name for output in model.outputs()]

# COMMAND ----------

# MAGIC %md
# MAGIC ## Transform: lazy and without a join

# COMMAND ----------

model.transform(users).limit(5).toPandas()

# COMMAND ----------

# MAGIC %md
# MAGIC ## Unseen and missing values
# MAGIC
# MAGIC The feature's `handle_unknown` applies to a category that was not in the data of the fit. The values are
# MAGIC `ignore` (zero in all columns), `indicator` (a column for it) and `error`. `handle_null` applies to nulls.

# COMMAND ----------

odd = users.limit(1).selectExpr("user_id", "age", "'X' AS gender", "NULL AS occupation", "zip_code")
model.transform(odd).toPandas().T

# COMMAND ----------

# MAGIC %md
# MAGIC ## The columns in a plot

# COMMAND ----------

from matchlake.training.notebook_plots import pairs_of_bars

table = model.transform(users)
names = [name for name in table.columns if name.startswith("occupation_")]
fractions = table.selectExpr(*[f"avg({name}) AS {name}" for name in names]).collect()[0]
pairs_of_bars(
    [name.removeprefix("occupation_") for name in names],
    {"all users": list(fractions)},
    "Fraction of users",
)

# COMMAND ----------

# MAGIC %md
# MAGIC ## The fitted states in a table
# MAGIC
# MAGIC `gold.feature_sets` has every version of a fitted state. So a model is always served with the features
# MAGIC that it was trained with.

# COMMAND ----------

lake.read("gold.feature_sets").select("feature_set", "version").toPandas()
