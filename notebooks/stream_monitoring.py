# Databricks notebook source
# MAGIC %md
# MAGIC # State of the streams
# MAGIC
# MAGIC This notebook shows batches, gaps, quarantined records and the age of the tables. It reads only tables and
# MAGIC one checkpoint, so it works wherever the streams run.

# COMMAND ----------

# MAGIC %pip install --quiet -r ../requirements-job.lock

# COMMAND ----------

# MAGIC %pip install --quiet --no-deps ..

# COMMAND ----------

from matchlake import start_notebook

runtime = start_notebook("stream_monitoring")
lake = runtime.lakehouse

# COMMAND ----------

# MAGIC %md
# MAGIC ## Batches: valid and quarantined records
# MAGIC
# MAGIC The batch log has the offsets of each batch, and the numbers of its rows and gaps.

# COMMAND ----------

from matchlake.training.notebook_plots import batches

batch_log = lake.read(runtime.config.ingest.batch_log)
batches(batch_log)

# COMMAND ----------

# MAGIC %md
# MAGIC ## Gaps and late records
# MAGIC
# MAGIC A gap is a range of offsets without a row. If a gap has no recorded cause, the next run fails.

# COMMAND ----------

columns = ["stream", "batch_id", "partition", "read", "error_codes", "gaps", "late", "seconds"]
batch_log.select(*columns).orderBy("batch_id", "partition").limit(20).toPandas()

# COMMAND ----------

# MAGIC %md
# MAGIC ## Quarantined records by error code

# COMMAND ----------

from matchlake.lakehouse.views import FRESHNESS, QUARANTINE, create_views

create_views(lake, runtime.config, [FRESHNESS, QUARANTINE])
lake.read(QUARANTINE).select("source", "error_code", "refused", "example").toPandas()

# COMMAND ----------

# MAGIC %md
# MAGIC ## Age of each table
# MAGIC
# MAGIC The bundle has alerts on this view. They fire if the rating events are older than two hours, or the
# MAGIC recommendations older than two days.

# COMMAND ----------

lake.read(FRESHNESS).toPandas()

# COMMAND ----------

# MAGIC %md
# MAGIC ## Offsets that the stream has read

# COMMAND ----------

from matchlake.ingest.streams.checkpoint import Checkpoint

stream = runtime.config.streams["rating_events"]
checkpoint = Checkpoint(runtime.spark, f"{runtime.config.checkpoints}/rating_events", stream.topic)
checkpoint.newest().committed()
