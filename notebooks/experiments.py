# Databricks notebook source
# MAGIC %md
# MAGIC # A rare class, and groups of customers
# MAGIC
# MAGIC First a classifier: which items do users love? Few items are loved, so the notebook compares what can be done about
# MAGIC a rare class, and shows which columns matter. Then it groups users by what they do, for many numbers of
# MAGIC groups at once. On a local machine, run `matchlake demo` first. The notebook writes nothing.
# MAGIC The keys `balance`, `threshold`, `importance` and `trainer` of a model in conf do the same in `train_model`.

# COMMAND ----------

# MAGIC %pip install --quiet -r ../requirements-job.lock

# COMMAND ----------

# MAGIC %pip install --quiet --no-deps ..

# COMMAND ----------

from matchlake import start_notebook

runtime = start_notebook("experiments")
lake, spark = runtime.lakehouse, runtime.spark

# COMMAND ----------

# MAGIC %md
# MAGIC ## The rows: items with five ratings or more
# MAGIC
# MAGIC A third of the items, chosen by a hash, is the test part. No remedy touches it.

# COMMAND ----------

from pyspark.sql import functions as F

means = (
    lake.read("silver.interactions")
    .groupBy("item_id")
    .agg(F.avg("rating").alias("mean_rating"), F.count("*").alias("ratings"))
    .where("ratings >= 5")
)
items = lake.read("bronze.items").join(means, "item_id")
items = items.withColumn("loved", F.expr("IF(mean_rating >= 3.9, 'yes', 'no')"))
is_test = F.expr("pmod(xxhash64(item_id), 3) = 0")
train, test = items.where(~is_test), items.where(is_test)
items.groupBy("loved").count().toPandas()

# COMMAND ----------

# MAGIC %md
# MAGIC ## Features of the training part
# MAGIC
# MAGIC A category stays one category for SMOTE, although it has many columns: `category_columns` says which.

# COMMAND ----------

from matchlake import FeatureSet, MinMax, MultiHot, fit_features
from matchlake.learners.protocol import TrainingData
from matchlake.training.model_training import category_columns

declared = FeatureSet(
    name="loved_items",
    keys=("item_id",),
    features={
        "genres": MultiHot(handle_null="indicator"),
        "year_scaled": MinMax(column="year", handle_null="mean"),
        "ratings_scaled": MinMax(column="ratings", handle_null="mean"),
    },
)
features = fit_features(train, declared)
read = ["genres", "year", "ratings"]
rows = train.orderBy("item_id").toPandas()
unseen = test.orderBy("item_id").toPandas()
columns = tuple(output.name for output in features.outputs())
data = TrainingData(
    features.transform_numpy({name: rows[name].to_numpy() for name in read}),
    columns,
    rows["loved"].to_numpy(),
)

# COMMAND ----------

# MAGIC %md
# MAGIC ## Four models: as it is, with SMOTE, with weights, with a threshold
# MAGIC
# MAGIC SMOTE adds synthetic rows between a rare row and its neighbours. Weights make rare rows count more. A threshold
# MAGIC changes no probability: it says from which one on the answer is yes.

# COMMAND ----------

from functools import partial

from matchlake.learners.balance import balanced
from matchlake.learners.params import (
    ClassWeightsParams,
    SklearnParams,
    SmoteParams,
    ThresholdParams,
)
from matchlake.learners.registry import fit_head
from matchlake.learners.threshold import with_threshold

trainer = SklearnParams(estimator="LogisticRegression", params={"max_iter": 2000})
fit = partial(fit_head, params=trainer, task="classification", seed=1)
groups = category_columns(features)
heads = {
    "as it is": fit(data),
    "SMOTE": fit(balanced(data, SmoteParams(), 1, groups)),
    "class weights": fit(balanced(data, ClassWeightsParams(), 1, groups)),
}
heads["threshold"] = with_threshold(heads["as it is"], data, ThresholdParams(), 1, fit)
heads["threshold"].decision_threshold

# COMMAND ----------

# MAGIC %md
# MAGIC ## Measured on the test part
# MAGIC
# MAGIC F1 and recall are of the rare class. Log loss judges the probabilities: SMOTE and weights make them too high.

# COMMAND ----------

import pandas as pd

from matchlake.model_store.scoring_model import ScoringModel
from matchlake.training.model_data import LABEL
from matchlake.training.model_training import score
from matchlake.training.task_metrics import measure

models = {
    name: ScoringModel(name="loved", task="classification", features=features, head=head)
    for name, head in heads.items()
}
labelled = unseen.assign(**{LABEL: unseen["loved"]})
shown = ("f1", "recall", "precision", "roc_auc", "log_loss")
pd.DataFrame({name: measure(score(model, labelled), shown) for name, model in models.items()}).T

# COMMAND ----------

# MAGIC %md
# MAGIC ## Which columns matter
# MAGIC
# MAGIC Each column is shuffled in the test part, five times. A column matters if the model then becomes worse. All
# MAGIC columns of a feature are shuffled together.

# COMMAND ----------

from matchlake import permutation_importance
from matchlake.training.importance import Importance
from matchlake.training.model_plots import plot_importance

found = permutation_importance(models["threshold"], unseen, "loved", seed=1)
plot_importance({row.name: Importance(tuple(row.values)) for row in found.itertuples(index=False)})

# COMMAND ----------

# MAGIC %md
# MAGIC ## Groups of customers, for 2 to 10 groups at once
# MAGIC
# MAGIC Each user has the logarithm of the number of ratings, their mean and their spread. One pass over the users is one
# MAGIC iteration of all clusterings. On a large table, give the Spark frame itself and the key.

# COMMAND ----------

from matchlake import KmeansParams, sweep_clusters

users = (
    lake.read("silver.interactions")
    .groupBy("user_id")
    .agg(
        F.log10(F.count("*")).alias("activity"),
        F.avg("rating").alias("mean_rating"),
        F.coalesce(F.stddev("rating"), F.lit(0.0)).alias("spread"),
    )
)
measured = ["activity", "mean_rating", "spread"]
params = KmeansParams.model_validate({"sweep": {"k": {"low": 2, "high": 10}, "starts": 3}})
sweep = sweep_clusters(users.orderBy("user_id").toPandas(), measured, params, seed=1)
sweep.table().sort_values("silhouette", ascending=False).head()

# COMMAND ----------

from matchlake.training.cluster_plots import plot_measures

plot_measures(sweep)

# COMMAND ----------

# MAGIC %md
# MAGIC ## The groups
# MAGIC
# MAGIC The assignment is one SQL expression: Spark runs it without Python.

# COMMAND ----------

from matchlake.training.cluster_plots import plot_silhouettes

plot_silhouettes(sweep)

# COMMAND ----------

assigned = sweep.best.assign(users, ["user_id"]).join(users, "user_id")
means_by_group = assigned.groupBy("prediction").agg(
    F.count("*").alias("users"), *[F.round(F.avg(name), 2).alias(name) for name in measured]
)
means_by_group.orderBy("prediction").toPandas()
