from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from matchlake.errors import InputError, ParameterError
from matchlake.recommender.algorithms import algorithm_of
from matchlake.recommender.blend.fit import fit_blend
from matchlake.recommender.blend.params import BlendParams
from matchlake.recommender.blend.weights import choose_weights

MODELS = {"ease": {"regularization": 5.0}, "slim": {"l1_regularization": 0.5}, "popularity": {}}


def test_ids_of_32_bits_are_taken() -> None:
    users, items = (pd.factorize(rows()[name])[0].astype(np.int32) for name in rows().columns)
    model = fit_blend(pd.DataFrame({"user_id": users, "item_id": items}), params())
    assert len(model.recommend_items(3, 4)) == 4


def rows(seed: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    taste = rng.random((4, 15)) ** 4
    chance = taste[rng.integers(4, size=60)]
    users, items = np.nonzero(rng.random((60, 15)) < 0.25 * chance / chance.mean())
    return pd.DataFrame({"user_id": [f"u{n}" for n in users], "item_id": [f"i{n}" for n in items]})


def params(**given: Any) -> BlendParams:
    return BlendParams(**{"models": MODELS, **given})


def lists(user: str, *items: str) -> pa.Table:
    ranks = np.arange(1, len(items) + 1, dtype=np.int32)
    return pa.table({"user_id": [user] * len(items), "rank": ranks, "item_id": list(items)})


def test_weights_of_a_known_case_go_to_the_model_that_ranks_well() -> None:
    bad = pa.concat_tables([lists("a", "x", "y", "z"), lists("b", "x", "y", "z")])
    good = pa.concat_tables([lists("a", "z", "x", "y"), lists("b", "y", "x", "z")])
    truth = pa.table({"user_id": ["a", "b", "c"], "item_id": ["z", "y", "x"]})
    found = choose_weights([bad, good], truth, params(k=1, rank_constant=1.0))
    assert found[1] > found[0]
    # With k = 3 a perfect list needs more weight on the good model than on the other.
    assert choose_weights([good, bad], truth, params(k=3)) == found[::-1]


def test_of_equal_weights_the_most_even_are_chosen() -> None:
    same = lists("a", "x", "y")
    truth = pa.table({"user_id": ["a"], "item_id": ["x"]})
    assert choose_weights([same, same], truth, params()) == (0.5, 0.5)


def test_lists_are_the_fusion_of_the_lists_of_the_models() -> None:
    table = rows()
    model = fit_blend(table, params(depth=6))
    assert sum(member.weight for member in model.members.values()) == pytest.approx(1)
    for user in [*model.user_ids[:8], "a stranger"]:
        seen = table.item_id[table.user_id == user].tolist()
        expected: dict[str, float] = {}
        for member in model.members.values():
            found = member.model.recommend_items(user, 6, exclude_seen=seen)
            for rank, (item, _) in enumerate(found, 1):
                expected[item] = expected.get(item, 0.0) + member.weight / (60 + rank)
        order = sorted(expected, key=lambda i: (-np.float32(expected[i]), model.item_ids.index(i)))
        answer = model.recommend_items(user, 4, exclude_seen=seen)
        assert [item for item, _ in answer] == [i for i in order if expected[i]][:4]
        assert [score for _, score in answer] == pytest.approx([expected[i] for i in order[:4]])


def test_scores_are_those_of_the_whole_list_and_0_for_strangers() -> None:
    model = fit_blend(rows(), params(depth=4))
    user = model.user_ids[5]
    found = dict(model.recommend_items(user, 4))
    scores = model.score([user] * 15, model.item_ids)
    for item, score in zip(model.item_ids, scores, strict=True):
        if item in found:
            assert score == pytest.approx(found[item])
    assert (scores == 0).any()
    assert list(model.score(["a stranger", user], ["i1", "no item"])) == [0, 0]


def test_a_table_and_its_shuffled_rows_give_the_same_blend() -> None:
    one = fit_blend(rows(), params())
    two = fit_blend(rows().sample(frac=1, random_state=2), params())
    assert one.recommend_items("u3", 9) == two.recommend_items("u3", 9)
    assert {n: m.weight for n, m in one.members.items()} == {
        n: m.weight for n, m in two.members.items()
    }


def test_new_users_are_folded_into_every_model_or_refused() -> None:
    able = fit_blend(rows(), params(models={name: MODELS[name] for name in ("ease", "slim")}))
    assert able.capabilities == {"fold_in_users"}
    folded = able.fold_in(users={"new": {"i1": 1.0, "i2": 1.0}})
    assert "new" in folded.user_ids
    assert folded.recommend_items("new", 3) != able.recommend_items("new", 3)
    unable = fit_blend(rows(), params())
    assert not unable.capabilities
    with pytest.raises(ParameterError, match="does not support fold_in"):
        unable.fold_in(users={"new": {"i1": 1.0}})


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ({"ease": {}}, "at least 2"),
        ({"ease": {}, "blend": {}}, "a blend cannot contain a blend"),
        ({"ease": {}, "svd": {}}, "There is no algorithm 'svd'"),
        ({"ease": {}, "als": {"rnk": 3}}, "rnk"),
        ({"ease": {}, "als": {"patience": 2}}, "patience needs a validation part"),
    ],
)
def test_models_that_cannot_be_fitted_are_named(models: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        params(models=models)


def test_a_validation_part_with_nothing_to_measure_is_refused() -> None:
    table = pd.DataFrame({"user_id": ["a", "a", "b"], "item_id": [1, 2, 1]})
    with pytest.raises(InputError, match=r"[Nn]othing can be measured"):
        fit_blend(table, params(validation_fraction=1e-9))


@pytest.mark.parametrize("name", ["popularity", "bias", "ease", "slim"])
def test_the_registry_fits_tables_too(name: str) -> None:
    from matchlake.recommender.checkpoint import local_checkpoint  # noqa: PLC0415
    from matchlake.recommender.protocol import FitContext, TrainingInputs  # noqa: PLC0415

    algorithm = algorithm_of(name)
    inputs = TrainingInputs(rows().assign(rating=np.arange(len(rows())) % 5))  # type: ignore[arg-type]
    fitted = algorithm.resolve(algorithm.fit)(
        inputs, algorithm.params_class()(), FitContext(local_checkpoint)
    )
    assert len(fitted.recommend_items("u1", 3)) == 3
