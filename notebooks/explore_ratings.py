# Databricks notebook source
# MAGIC %md
# MAGIC # Explore the ratings
# MAGIC
# MAGIC This notebook shows the ratings in `silver.interactions`: by value, by user and by item. The job
# MAGIC `build_silver` writes that table. On a local machine, run `matchlake demo` first. The notebook writes
# MAGIC nothing.

# COMMAND ----------

# MAGIC %pip install --quiet -r ../requirements-job.lock

# COMMAND ----------

# MAGIC %pip install --quiet --no-deps ..

# COMMAND ----------

from matchlake import start_notebook

runtime = start_notebook("explore_ratings")
lake = runtime.lakehouse

# COMMAND ----------

# MAGIC %md
# MAGIC ## The distribution of ratings
# MAGIC
# MAGIC Most users rate items that they like, so high ratings are the most frequent. Ranking metrics therefore
# MAGIC evaluate lists better than the error of single ratings does. They count every rating from
# MAGIC `train.ranking.relevant_from` on as relevant.

# COMMAND ----------

from matchlake.training.notebook_plots import activity, rating_counts

interactions = lake.read("silver.interactions")
rating_counts(interactions)

# COMMAND ----------

# MAGIC %md
# MAGIC ## Ratings per user and per item
# MAGIC
# MAGIC A few users and a few items have most of the ratings. Popular items are easy to predict. So every training
# MAGIC run is compared with a model that uses popularity only.

# COMMAND ----------

activity(interactions)

# COMMAND ----------

# MAGIC %md
# MAGIC ## The best rated items, and the users with few ratings

# COMMAND ----------

lake.read("gold.top_items").limit(10).toPandas()

# COMMAND ----------

lake.read("gold.users_with_few_ratings").orderBy("ratings").limit(10).toPandas()
