# Databricks notebook source
# MAGIC %md
# MAGIC # Explore the ratings
# MAGIC
# MAGIC What was rated, how often, when and by whom: `silver.interactions`, which `build_silver` writes.
# MAGIC On a laptop run `matchlake demo` first. This notebook only reads.

# COMMAND ----------

# MAGIC %pip install --quiet ..

# COMMAND ----------

from matchlake import start_notebook

runtime = start_notebook("explore_ratings")
lake = runtime.lakehouse

# COMMAND ----------

# MAGIC %md
# MAGIC ## How ratings are given
# MAGIC
# MAGIC Most people rate what they like, so high values lead. A metric that counts a four and a five alike
# MAGIC (`train.ranking.relevant_from`) judges lists better than the error of single ratings does.

# COMMAND ----------

from matchlake.training.notebook_plots import activity, rating_counts

interactions = lake.read("silver.interactions")
rating_counts(interactions)

# COMMAND ----------

# MAGIC %md
# MAGIC ## Who rates, and what is rated
# MAGIC
# MAGIC A few users and a few items have most of the ratings. Popular items are an easy guess, which is why
# MAGIC every training run is measured against a model that knows popularity alone.

# COMMAND ----------

activity(interactions)

# COMMAND ----------

# MAGIC %md
# MAGIC ## The items that lead, and the users of whom little is known

# COMMAND ----------

lake.read("gold.top_items").limit(10).toPandas()

# COMMAND ----------

lake.read("gold.users_with_few_ratings").orderBy("ratings").limit(10).toPandas()
