"""`fit_blend` on Spark."""

from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.recommender.blend.members import fit_members
from matchlake.recommender.blend.model import BlendModel, load
from matchlake.recommender.blend.nested import nested
from matchlake.recommender.blend.params import BlendParams
from matchlake.recommender.blend.weights import choose_weights
from matchlake.recommender.checkpoint import Checkpointer
from matchlake.recommender.ids import number_rows
from matchlake.recommender.protocol import FitContext, ModelParts, Recommender, TrainingInputs
from matchlake.recommender.sides import INDICES, ITEM, KEYS, USER
from matchlake.recommender.split.dispatch import split
from matchlake.recommender.split.parts import draw
from matchlake.schemas import ITEM_ID, RANK, USER_ID


def fit_on_spark(inputs: TrainingInputs, params: BlendParams, context: FitContext) -> BlendModel:
    """Implements `fit_blend` on Spark frames."""
    checkpoint = context.checkpoint
    weights = _weights(inputs, params, checkpoint)
    models = fit_members(inputs, params, checkpoint)
    parts = {name: model.to_parts() for name, model in models.items()}
    sides, sizes = [], []
    for side in (USER, ITEM):
        rows = {name: (each.users, each.items)[side] for name, each in parts.items()}
        numbered, size = number_rows(_joined(rows, KEYS[side]), KEYS[side], checkpoint)
        sides.append(numbered.withColumnRenamed("idx", INDICES[side]))
        sizes.append(size)
    whole = nested((sides[USER], sides[ITEM]), parts, weights, params)
    return load(
        ModelParts(
            whole.users,
            whole.items,
            params,
            whole.values,
            whole.tables,
            whole.files,
            (sizes[USER], sizes[ITEM]),
        )
    )


def _weights(
    inputs: TrainingInputs, params: BlendParams, checkpoint: Checkpointer
) -> dict[str, float]:
    """Chooses the weights of the models by their lists for users of the validation part."""
    parts = split(inputs.interactions, params.validation)
    train, held = checkpoint(parts.train), checkpoint(parts.test)
    models = fit_members(inputs._replace(interactions=train), params, checkpoint)
    pairs = held.select(USER_ID, ITEM_ID).dropna().distinct()
    order = draw(params.seed, "user", USER_ID)
    users = pairs.select(USER_ID).distinct().sort(order, USER_ID).limit(params.validation_users)
    seen = train.select(USER_ID, ITEM_ID).join(users, USER_ID, "semi")
    lists = [_lists(model, users, seen, params.depth).toArrow() for model in models.values()]
    truth = pairs.join(users, USER_ID, "semi").toArrow()
    return dict(zip(models, choose_weights(lists, truth, params), strict=True))


def _lists(model: Recommender, users: DataFrame, seen: DataFrame, depth: int) -> DataFrame:
    return model.recommend_items(users, depth, exclude_seen=seen).select(USER_ID, RANK, ITEM_ID)


def _joined(rows: dict[str, DataFrame], key: str) -> DataFrame:
    """Returns one row per id, with a struct for each model; null if the model lacks the id."""
    frames = [frame.select(key, F.struct("*").alias(name)) for name, frame in rows.items()]
    whole = reduce(lambda one, two: one.join(two, key, "full"), frames)
    counts = [F.coalesce(F.col(name)["n_interactions"], F.lit(0)) for name in rows]
    return whole.withColumn("n_interactions", F.greatest(*counts).cast("long"))
