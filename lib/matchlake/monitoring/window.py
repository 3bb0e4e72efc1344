"""The two sides of a comparison: the test part of the training version, and the window."""

from datetime import datetime

import pandas as pd
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import functions as F

from matchlake.errors import ModelError, SchemaError
from matchlake.features.feature_set import FeatureSet
from matchlake.features.refusals import refusal_sql
from matchlake.io.delta import Lakehouse, is_gone
from matchlake.model_store.scoring_model import ScoringModel
from matchlake.monitoring.params import WatchedModel
from matchlake.schemas import quote_identifier
from matchlake.training.model_data import read_rows, test_rows, with_label
from matchlake.training.model_params import ModelParams
from matchlake.training.model_training import read_test_rows


def read_training_side(
    lake: Lakehouse,
    name: str,
    params: ModelParams,
    features: FeatureSet,
    model: ScoringModel,
    version: int | None,
) -> pd.DataFrame:
    """The test part of the table version that the champion learned from. A few Spark jobs.

    Raises ModelError if that version is not known, or its files are gone.
    """
    if version is None:
        raise ModelError(
            f"models.{name}: the run of the champion did not record the version of {params.rows}. "
            "Train the model again with train_model."
        )
    try:
        return read_test_rows(
            read_rows(lake, name, params, features, version).test, params.keys, [model]
        )
    except (PySparkException, Py4JError) as error:
        if not is_gone(error):
            raise
        raise ModelError(
            f"models.{name}: version {version} of {params.rows}, from which the champion learned, "
            "has lost its files to VACUUM. Train the model again, or keep versions longer."
        ) from None


def read_window(
    lake: Lakehouse,
    name: str,
    params: ModelParams,
    watched: WatchedModel,
    model: ScoringModel,
    window: tuple[datetime, datetime],
) -> pd.DataFrame:
    """The rows of the window that the model takes; the label is null where it has not arrived.

    Rows without a time are in no window. One Spark job. Raises SchemaError for a missing column.
    """
    table = watched.rows or params.rows
    frame = lake.read(table)
    needed = [watched.time, *params.keys, *model.columns()]
    missing = [each for each in dict.fromkeys(needed) if each not in frame.columns]
    if missing:
        raise SchemaError.missing(f"{table}, which monitor_models reads", missing, frame.columns)
    time = F.col(quote_identifier(watched.time)).cast("timestamp")
    rows = frame.where((time >= F.lit(window[0])) & (time < F.lit(window[1])))
    refused = refusal_sql(model.features)
    rows = rows if refused is None else rows.where(f"({refused}) IS NULL")
    return test_rows(with_label(rows, name, params), params.keys, model.columns())
