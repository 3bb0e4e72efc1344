"""The files and the signature that `matchlake.serve` needs besides the graph of a recommender."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from matchlake.model_store.served_signature import FoldIn, RecommenderSignature
from matchlake.recommender.als.numpy_model import NumpyFactorModel
from matchlake.recommender.als.params import AlsParams
from matchlake.recommender.numpy_factors import NumpyFactorRecommender
from matchlake.recommender.protocol import NumpyRecommender
from matchlake.recommender.sides import ITEM

GRAPH_FILE, FILES_FILE = "model.onnx", "files.json"
FACTORS_FILE, BIAS_FILE, ITEMS_FILE = "item_factors.npy", "item_bias.npy", "item_ids.json"


def recommender_signature(
    model: NumpyRecommender, algorithm: str, *, predicts_ratings: bool
) -> RecommenderSignature:
    """Returns the signature of a recommender; ids are strings in the graph."""
    return RecommenderSignature(
        name="recommender",
        algorithm=algorithm,
        id_type=_id_type(model.user_ids),
        item_id_type=_id_type(model.item_ids),
        predicts_ratings=predicts_ratings,
        users=len(model.user_ids),
        items=len(model.item_ids),
        fold_in=_fold_in(model),
    )


def _id_type(ids: Any) -> Any:
    return "integer" if len(ids) and isinstance(ids[0], int) else "string"


def _fold_in(model: NumpyRecommender) -> FoldIn | None:
    """Returns the least squares problem of a user; None for a model without such a problem."""
    if not isinstance(model, NumpyFactorModel) or model.params.nonnegative:
        return None
    params: AlsParams = model.params
    explicit, confident = params.feedback == "explicit", params.objective == "hu_koren"
    return FoldIn(
        level=model.mean,
        centered=params.has_bias,
        slope=0.0 if explicit else params.slope,
        base=1.0 if explicit else 0.0,
        gain=1.0 if explicit else params.slope,
        shift=0.0 if explicit else float(confident),
        base_weight=params.base_weight,
        counts_all_pairs=not confident,
        penalty_weight=params.penalty_weight,
        nu=params.nu,
        weight_scale=params.weight_scale,
    )


def item_arrays(model: NumpyRecommender) -> dict[str, bytes]:
    """Returns the files of the items' ids, factors and biases; none for a model without factors."""
    if not isinstance(model, NumpyFactorRecommender):
        return {}
    items = model.sides[ITEM]
    ids = json.dumps([str(each) for each in items.ids]).encode()
    return {FACTORS_FILE: _npy(items.factors), BIAS_FILE: _npy(items.bias), ITEMS_FILE: ids}


def _npy(values: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(values, np.float32), allow_pickle=False)
    return stream.getvalue()


def digests_of(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file of an exported recommender."""
    names = (GRAPH_FILE, FACTORS_FILE, BIAS_FILE, ITEMS_FILE)
    found = {}
    for name in (each for each in names if (folder / each).is_file()):
        with (folder / name).open("rb") as stream:
            found[name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found
