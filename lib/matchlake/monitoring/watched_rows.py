"""The two sides of a comparison: the test part of the training version, and the window."""

from dataclasses import dataclass
from datetime import datetime

import pandas as pd
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.errors import ModelError, SchemaError
from matchlake.features.feature_set import FeatureSet
from matchlake.features.refusals import refusal_sql
from matchlake.io.delta import Lakehouse, is_gone
from matchlake.model_store.scoring_model import ScoringModel
from matchlake.monitoring.params import MonitorParams
from matchlake.schemas import quote_identifier
from matchlake.training.model_data import read_rows, test_rows, with_label
from matchlake.training.model_params import ModelParams
from matchlake.training.model_training import read_test_rows


@dataclass(frozen=True)
class WatchedRows:
    """Reads both sides for one model; Spark samples a side of more than `sample_rows`."""

    lake: Lakehouse
    name: str
    params: ModelParams
    monitor: MonitorParams
    model: ScoringModel

    def training_side(self, features: FeatureSet, version: int | None) -> pd.DataFrame:
        """Reads the test part of the champion's table version. A few Spark jobs.

        Raises ModelError if that version is unknown, or its files are deleted.
        """
        name, table = self.name, self.params.rows
        if version is None:
            raise ModelError(
                f"models.{name}: the run of the champion did not record the version of {table}. "
                "Train the model again with train_model."
            )
        try:
            test = read_rows(self.lake, name, self.params, features, version).test
            return read_test_rows(self._drawn(test), self.params.keys, [self.model.features])
        except (PySparkException, Py4JError) as error:
            if not is_gone(error):
                raise
            raise ModelError(
                f"models.{name}: version {version} of {table}, the champion's training data, was "
                "deleted by VACUUM. Train the model again, or keep versions longer."
            ) from None

    def window(self, start: datetime, end: datetime) -> pd.DataFrame:
        """Reads the rows of the window for the model; a label that has not arrived is null.

        Rows without a time are in no window. One Spark job. Raises SchemaError for a missing
        column.
        """
        params, watched = self.params, self.monitor.models[self.name]
        table = watched.rows or params.rows
        frame = self.lake.read(table)
        needed = [watched.time, *params.keys, *self.model.columns()]
        missing = [each for each in dict.fromkeys(needed) if each not in frame.columns]
        if missing:
            where = f"{table}, which monitor_models reads"
            raise SchemaError.missing(where, missing, frame.columns)
        time = F.col(quote_identifier(watched.time)).cast("timestamp")
        rows = frame.where((time >= F.lit(start)) & (time < F.lit(end)))
        refused = refusal_sql(self.model.features)
        rows = rows if refused is None else rows.where(f"({refused}) IS NULL")
        rows = with_label(self._drawn(rows), self.name, params)
        return test_rows(rows, params.keys, self.model.columns())

    def _drawn(self, rows: DataFrame) -> DataFrame:
        """Samples at most `sample_rows` of the rows, by a hash of their keys. Lazy."""
        keys = map(quote_identifier, self.params.keys)
        drawn = F.xxhash64(F.lit("monitor"), *keys)
        return rows.orderBy(drawn).limit(self.monitor.sample_rows)
