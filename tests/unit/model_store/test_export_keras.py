"""A network of Keras in Keras' own formats: the same scores, and a changed file is refused."""

import base64
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.support.fitted_features import number_features

from matchlake.errors import ModelError, ParameterError
from matchlake.formulas.heads import Head, LinearHead
from matchlake.learners.params import KerasParams
from matchlake.learners.protocol import TrainingData
from matchlake.learners.registry import fit_head
from matchlake.model_store.exports import Format, finish_export, verify_export, write_export
from matchlake.model_store.held_out import HeldOut
from matchlake.model_store.scoring_model import ScoringModel

COLUMNS = ("a", "b", "c")
MATRIX = np.random.default_rng(0).normal(size=(200, 3))
KINDS: tuple[Format, ...] = ("h5", "keras")


def model(head: Head) -> ScoringModel:
    return ScoringModel(name="net", task=head.task, features=number_features(COLUMNS), head=head)


def held_out(made: ScoringModel) -> HeldOut:
    return HeldOut.of(made.features, pd.DataFrame(MATRIX, columns=COLUMNS))


@pytest.fixture(scope="module")
def network() -> ScoringModel:
    label = np.where(MATRIX.sum(axis=1) > 0.5, "yes", "no")
    params = KerasParams(hidden=(6,), epochs=3)
    data = TrainingData(MATRIX, COLUMNS, label)
    return model(fit_head(data, params, "classification", 1))


@pytest.mark.soak
@pytest.mark.frameworks
@pytest.mark.filterwarnings("ignore:__array__ implementation")  # Keras' own, with NumPy 2
@pytest.mark.parametrize("kind", KINDS if find_spec("keras") else ())
def test_a_network_goes_through_the_formats_of_keras(
    network: ScoringModel, tmp_path: Path, kind: Format
) -> None:
    path = tmp_path / f"net.{kind}"
    partial = write_export(network, held_out(network), kind, path)
    verified, difference = verify_export(partial)
    assert difference <= 1e-5
    finish_export(partial, path, difference)
    assert verify_export(path)[0].largest_difference == difference
    assert verified.rows == 200
    import keras  # noqa: PLC0415

    alone = keras.models.load_model(path, compile=False)
    scores = np.asarray(alone(MATRIX.astype(np.float32)), np.float64)
    np.testing.assert_allclose(scores, network.head.scores(MATRIX), rtol=1e-5, atol=1e-5)
    changed = bytearray(path.read_bytes())
    weights = np.asarray(alone.get_weights()[-2]).tobytes()[:8]
    changed[bytes(changed).index(weights)] ^= 1
    path.write_bytes(changed)
    with pytest.raises(ModelError, match=r"was changed|damaged"):
        verify_export(path)


@pytest.mark.parametrize("kind", KINDS)
def test_other_models_have_no_such_file(tmp_path: Path, kind: Format) -> None:
    made = model(LinearHead(columns=COLUMNS, weights=((1.0, 2.0, 3.0),), intercepts=(0.0,)))
    with pytest.raises(ParameterError, match="net is not a network of Keras"):
        write_export(made, held_out(made), kind, tmp_path / f"m.{kind}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", KINDS)
def test_other_files_are_refused(tmp_path: Path, kind: Format) -> None:
    path = tmp_path / f"m.{kind}"
    path.write_bytes(base64.b64decode("bm8gZmlsZSBvZiBLZXJhcw=="))
    with pytest.raises(ModelError, match=r"has no comparison|is not a file of Keras"):
        verify_export(path)
