"""Pictures say what a new item is like: Matchbox predicts its ratings from the embedding."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.support.backbones import pooled

from matchlake.features.feature_set import FeatureSet
from matchlake.ingest.images.backbone import BackboneSpec, model_hash, open_backbone
from matchlake.ingest.images.params import Preprocessing
from matchlake.ingest.images.tables import embedding_column
from matchlake.recommender.matchbox.encoders import Encoders
from matchlake.recommender.matchbox.fit import fit_matchbox
from matchlake.recommender.matchbox.params import MatchboxParams

USERS, ITEMS, COLD, NUMBERS, SIDE = 60, 60, 15, 4, 8
PARAMS = MatchboxParams(rank=2, samples=20, burn_in=20, thinning=1)


def covers(rng: np.random.Generator) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """One picture per item: a colour of its own, with noise."""
    colours = rng.integers(40, 216, (ITEMS, 1, 1, 3))
    noise = rng.integers(-40, 40, (ITEMS, SIDE, SIDE, 3))
    return (colours + noise).astype(np.uint8)


@pytest.mark.soak
def test_embeddings_predict_items_without_ratings(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    path, pictures = str(tmp_path / "m.onnx"), covers(rng)
    pooled(Path(path), NUMBERS, seed=4, side=SIDE)
    spec = BackboneSpec(path, model_hash(path), None, "cpu", Preprocessing(), 16)
    vectors = open_backbone(spec).embed(pictures)
    items = pd.DataFrame(vectors, columns=[embedding_column(n) for n in range(NUMBERS)])
    items["item_id"] = [f"i{item}" for item in range(ITEMS)]

    redness = (pictures[..., 0].mean(axis=(1, 2)) - 128) / 50
    taste = rng.normal(size=USERS)
    rows = [(user, item) for user in range(USERS) for item in range(ITEMS) if rng.random() < 0.5]
    ratings = pd.DataFrame(
        {
            "user_id": [f"u{user}" for user, _ in rows],
            "item_id": [f"i{item}" for _, item in rows],
            "rating": [3 + taste[u] * redness[i] + rng.normal(0, 0.3) for u, i in rows],
        }
    )
    is_cold = np.array([item < COLD for _, item in rows])
    known, asked = ratings[~is_cold], ratings[is_cold]
    declared = FeatureSet(
        name="covers", features={f"embedding_[0-{NUMBERS - 1}]": {"kind": "z_score"}}
    )

    def error(item_features: pd.DataFrame | None) -> float:
        encoders = Encoders(items=declared) if item_features is not None else None
        model = fit_matchbox(known, item_features=item_features, params=PARAMS, encoders=encoders)
        scores = model.predict(list(asked["user_id"]), list(asked["item_id"])).scores
        return float(np.sqrt(np.mean((np.asarray(scores) - asked["rating"]) ** 2)))

    without, with_pictures = error(None), error(items)
    assert with_pictures < 0.9 * without, (with_pictures, without)
