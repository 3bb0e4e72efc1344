# Databricks notebook source
# MAGIC %md
# MAGIC # The recommender in its four modes
# MAGIC
# MAGIC Predicted ratings, items for users, users like these, and items like those: one factor model answers
# MAGIC all four, here on Spark and in a service from NumPy. Nothing is registered; what the fit keeps on its way
# MAGIC lies below the folder of checkpoints until the last cell removes it.

# COMMAND ----------

# MAGIC %pip install --quiet ..

# COMMAND ----------

from matchlake import start_notebook

runtime = start_notebook("recommender")
lake = runtime.lakehouse

# COMMAND ----------

from matchlake import AlsParams, fit_als, split

interactions = lake.read("silver.interactions")
parts = split(interactions, runtime.config.train.split)
[part.count() for part in parts]

# COMMAND ----------

from pathlib import Path

from matchlake.io.fit_checkpoints import FitCheckpoints

# Serverless compute keeps nothing in memory between cells: a fit writes its states.
checkpoints = FitCheckpoints(
    runtime.spark, Path(runtime.config.checkpoints).absolute() / "notebook_recommender"
)
explicit = AlsParams(feedback="explicit", rank=16, regularization=0.15, iterations=8)
model = fit_als(parts.train, explicit, checkpoint=checkpoints)

# COMMAND ----------

# MAGIC %md
# MAGIC ## Mode 1: predict a rating

# COMMAND ----------

scored = model.score(parts.test)
scored.limit(5).toPandas()

# COMMAND ----------

from matchlake.training.plots import residual_counts, residuals

residuals(residual_counts(scored))

# COMMAND ----------

# MAGIC %md
# MAGIC ## Mode 2: items for users, without those they have rated

# COMMAND ----------

items = lake.read("bronze.items").select("item_id", "title")
some = interactions.select("user_id").distinct().orderBy("user_id").limit(3)
lists = model.recommend_items(some, 5, exclude_seen=interactions)
lists.join(items, "item_id", "left").orderBy("user_id", "rank").toPandas()

# COMMAND ----------

# MAGIC %md
# MAGIC ## Mode 3: users like these

# COMMAND ----------

model.similar_users(some, 3).toPandas()

# COMMAND ----------

# MAGIC %md
# MAGIC ## Mode 4: items like those

# COMMAND ----------

top = lake.read("gold.top_items").select("item_id", "title", "ratings")
model.similar_items(top.limit(3).select("item_id"), 3).toPandas()

# COMMAND ----------

# MAGIC %md
# MAGIC ## The items on a map
# MAGIC
# MAGIC Two of the model's directions, drawn: where two items lie together the same users like both.

# COMMAND ----------

from matchlake.training.notebook_plots import item_map

item_map(model, top)

# COMMAND ----------

import shutil

shutil.rmtree(checkpoints.folder)
