# Databricks notebook source
# MAGIC %md
# MAGIC # Is the stream well?
# MAGIC
# MAGIC What came, what was refused and why, how old the tables are: from the tables themselves, so that it
# MAGIC tells the same wherever the stream runs.

# COMMAND ----------

# MAGIC %pip install --quiet ..

# COMMAND ----------

from matchlake import start_notebook

runtime = start_notebook("stream_monitoring")
lake = runtime.lakehouse

# COMMAND ----------

# MAGIC %md
# MAGIC ## Batches: good and bad records of each
# MAGIC
# MAGIC The ledger has what each batch was to read, and what became of it.

# COMMAND ----------

from matchlake.training.notebook_plots import batches

ledger = lake.read(runtime.config.ingest.ledger)
batches(ledger)

# COMMAND ----------

# MAGIC %md
# MAGIC ## Records that are missing, and late ones
# MAGIC
# MAGIC A gap is a range of offsets without a row: with its reason, or the next run stops.

# COMMAND ----------

columns = ["stream", "batch_id", "partition", "read", "reasons", "gaps", "late", "seconds"]
ledger.select(*columns).orderBy("batch_id", "partition").limit(20).toPandas()

# COMMAND ----------

# MAGIC %md
# MAGIC ## What was refused, and why

# COMMAND ----------

from matchlake.lakehouse.views import FRESHNESS, QUARANTINE, create_views

create_views(lake, runtime.config, [FRESHNESS, QUARANTINE])
lake.read(QUARANTINE).select("source", "reason", "refused", "example").toPandas()

# COMMAND ----------

# MAGIC %md
# MAGIC ## How fresh each table is
# MAGIC
# MAGIC The bundle's alerts watch this view: rating events older than two hours, recommendations older than
# MAGIC two days.

# COMMAND ----------

lake.read(FRESHNESS).toPandas()

# COMMAND ----------

# MAGIC %md
# MAGIC ## Up to where the stream has read

# COMMAND ----------

from matchlake.ingest.streams.checkpoint import Checkpoint

stream = runtime.config.streams["rating_events"]
checkpoint = Checkpoint(runtime.spark, f"{runtime.config.checkpoints}/rating_events", stream.topic)
checkpoint.newest().committed()
