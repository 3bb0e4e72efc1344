"""The table of predictions of a model of conf."""

from dataclasses import replace

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.errors import SchemaError
from matchlake.features.refusals import refusal_sql
from matchlake.model_store.scoring_model import ScoringModel
from matchlake.schemas import MODEL_VERSION, Column, TableSpec
from matchlake.training.model_params import ModelParams, predictions_spec

REFUSAL = "refusal"
"""The column with the reason of a row without a prediction."""
_MISSING = "a feature that the model needs is missing"


def predictions(model: ScoringModel, frame: DataFrame, source: str, version: str) -> DataFrame:
    """Returns keys, outputs of the model, `refusal` and `model_version` of each row. Lazy.

    If an option of a feature refuses a row, it has no prediction, and `refusal` has the reason.
    Raises SchemaError if `frame`, the table `source`, lacks a column.
    """
    missing = [name for name in model.columns() if name not in frame.columns]
    if missing:
        raise SchemaError.missing(f"{source}, which the model scores", missing, frame.columns)
    refused = refusal_sql(model.features)
    if refused is None:
        return _finished(model.transform(frame), version)
    reason = F.expr(refused)
    scored = _finished(model.transform(frame.where(reason.isNull())), version)
    apart = frame.where(reason.isNotNull()).select(*model.features.keys, reason.alias(REFUSAL))
    apart = apart.withColumn(MODEL_VERSION.name, F.lit(version))
    return scored.unionByName(apart, allowMissingColumns=True).select(scored.columns)


def predictions_table(params: ModelParams, rows: DataFrame) -> TableSpec:
    """Returns the table for the rows of `predictions`."""
    comments = {
        "prediction": "The predicted class, number or number of the cluster",
        "probabilities": "Probability of each class, in the order of their names",
        "low": "Lower limit of the confidence interval",
        "high": "Upper limit of the confidence interval",
        "distances": "Distance to the centre of each cluster",
        REFUSAL: "Why the row has no prediction; null if it has one",
        MODEL_VERSION.name: MODEL_VERSION.comment,
    }
    columns = tuple(
        Column(
            each.name,
            each.dataType.simpleString(),
            comments.get(each.name) or each.metadata.get("comment", "Key of the row"),
        )
        for each in rows.schema
    )
    return replace(predictions_spec(params), columns=columns)


def count_refused(rows: DataFrame) -> tuple[int, int]:
    """Returns the number of rows, and of rows without a prediction. One Spark job."""
    total, refused = rows.agg(F.count("*"), F.count_if(F.col(REFUSAL).isNotNull())).collect()[0]
    return int(total), int(refused)


def _finished(rows: DataFrame, version: str) -> DataFrame:
    missing = F.when(F.col("prediction").isNull(), F.lit(_MISSING))
    return rows.withColumns({REFUSAL: missing, MODEL_VERSION.name: F.lit(version)})
