"""A Matchbox model to and from the frames and files in which it is saved."""

from pathlib import Path

import pyarrow.parquet as pq
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.engine.packing import pack
from matchlake.features.model import FeatureModel
from matchlake.model_store.matchbox_files import (
    BIASES,
    DAYS,
    ENCODERS,
    POSTERIOR,
    REPORT,
    RESPONSE,
    SAMPLES,
    read_encoders,
)
from matchlake.recommender.matchbox.encoding import FittedEncoders
from matchlake.recommender.matchbox.model import MatchboxModel
from matchlake.schemas import ITEM_ID, USER_ID


def with_samples(model: MatchboxModel) -> tuple[DataFrame, DataFrame]:
    """Users and items of `model.factor_model()`, with every sample's factors and biases."""
    flat = model.factor_model()
    samples = (F.col("factors").alias(SAMPLES), F.col("biases").alias(BIASES))
    users = model.users.select(USER_ID, *samples, RESPONSE)
    items = model.items.select(ITEM_ID, *samples)
    return flat.users.join(users, USER_ID), flat.items.join(items, ITEM_ID)


def sampled_rows(saved: DataFrame) -> DataFrame:
    """The rows of a `MatchboxModel` from those of `with_samples`."""
    compact = saved.withColumnRenamed("factors", "compact").drop("bias")
    return compact.withColumnsRenamed({SAMPLES: "factors", BIASES: "biases"})


def write_posterior(model: MatchboxModel, folder: Path) -> None:
    """Writes what is not a row of users or items; days come to the driver."""
    (folder / POSTERIOR).mkdir()
    (folder / REPORT).write_bytes(pack(model.report))
    for path, encoder in zip(ENCODERS, model.encoders, strict=True):
        if encoder is not None:
            (folder / path).write_text(encoder.to_json(), encoding="utf-8")
    if model.days is not None:
        pq.write_table(model.days.toArrow(), folder / DAYS)


def fitted_encoders(folder: Path) -> FittedEncoders:
    """The encoders of both sides."""
    texts = read_encoders(folder)
    return FittedEncoders(*(FeatureModel.from_json(text) if text else None for text in texts))
