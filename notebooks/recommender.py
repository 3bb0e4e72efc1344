# Databricks notebook source
# MAGIC %md
# MAGIC # The four modes of the recommender
# MAGIC
# MAGIC One factor model predicts ratings, recommends items to users, and finds similar users and similar items.
# MAGIC This notebook does it on Spark; a service does the same with NumPy. Nothing is registered. The fit writes
# MAGIC its checkpoints below the folder `checkpoints`; the last cell deletes them.

# COMMAND ----------

# MAGIC %pip install --quiet -r ../requirements-job.lock

# COMMAND ----------

# MAGIC %pip install --quiet --no-deps ..

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

# Serverless compute cannot cache in memory, so the fit writes its checkpoints to files.
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
# MAGIC ## Mode 2: items for users, without the items that they have rated

# COMMAND ----------

items = lake.read("bronze.items").select("item_id", "title")
some = interactions.select("user_id").distinct().orderBy("user_id").limit(3)
lists = model.recommend_items(some, 5, exclude_seen=interactions)
lists.join(items, "item_id", "left").orderBy("user_id", "rank").toPandas()

# COMMAND ----------

# MAGIC %md
# MAGIC ## Mode 3: similar users

# COMMAND ----------

model.similar_users(some, 3).toPandas()

# COMMAND ----------

# MAGIC %md
# MAGIC ## Mode 4: similar items

# COMMAND ----------

top = lake.read("gold.top_items").select("item_id", "title", "ratings")
model.similar_items(top.limit(3).select("item_id"), 3).toPandas()

# COMMAND ----------

# MAGIC %md
# MAGIC ## The items in a plane
# MAGIC
# MAGIC The plot shows the first two principal components of the item factors. Items that are close together
# MAGIC are liked by the same users.

# COMMAND ----------

from matchlake.training.notebook_plots import item_map

item_map(model, top)

# COMMAND ----------

import shutil

shutil.rmtree(checkpoints.folder)
