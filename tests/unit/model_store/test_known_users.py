"""Versions of models of conf that hold a user: as a category, or in a held-out row."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pandas as pd
import pytest
from tests.support.fitted_features import fitted_categories, number_features

from matchlake.errors import ModelError
from matchlake.features.categories import OneHot
from matchlake.features.model import FeatureModel
from matchlake.formulas.heads import LinearHead
from matchlake.io.mlflow_tracking import Tracker
from matchlake.io.model_versions import ModelVersion
from matchlake.model_store.known_users import scoring_versions_with
from matchlake.model_store.scoring_folder import save_scoring_model
from matchlake.model_store.scoring_model import ScoringModel


class Registry:
    """Versions in folders; one without a folder cannot be read."""

    def __init__(self, folders: dict[str, Path]) -> None:
        self.folders = folders

    def versions(self) -> list[ModelVersion]:
        return [ModelVersion("churn", number, "run") for number in self.folders]

    @contextmanager
    def files(self, version: ModelVersion, path: str) -> Iterator[Path]:
        assert path == "artifacts/scoring"
        folder = self.folders[version.version]
        if not folder.exists():
            raise ModelError("gone")
        yield folder


def save(folder: Path, features: FeatureModel, rows: dict[str, Any]) -> Path:
    columns = tuple(output.name for output in features.outputs())
    head = LinearHead(columns=columns, weights=((1.0,) * len(columns),), intercepts=(0.0,))
    model = ScoringModel(name="churn", task="regression", features=features, head=head)
    save_scoring_model(model, folder, pd.DataFrame(rows))
    return folder


@pytest.fixture
def registry(tmp_path: Path) -> Tracker:
    one_hot = fitted_categories(OneHot, "string")
    by_id = one_hot.model_copy(update={"column": "user_id", "name": "user_id"})
    categories = FeatureModel(name="t", rows=1, keys=("id",), features=(by_id,))
    folders = {
        "1": save(tmp_path / "1", number_features(("age",)), {"age": [41.0, 4711.0]}),
        "2": save(tmp_path / "2", categories, {"user_id": ["x", "u-4711-zoe"]}),
        "3": tmp_path / "gone",
    }
    return cast("Tracker", Registry(folders))


@pytest.mark.parametrize(
    ("user", "columns", "expected"),
    [
        ("u-4711-zoe", None, ["2", "3"]),
        ("4711.0", None, ["1", "3"]),
        ("4711.0", {"user_id"}, ["3"]),
        ("1", {"user_id"}, ["2", "3"]),
        ("someone else", None, ["3"]),
    ],
)
def test_versions_hold_a_user_as_category_or_in_a_held_out_row(
    registry: Tracker, user: str, columns: set[str] | None, expected: list[str]
) -> None:
    found = scoring_versions_with(registry, user, columns)
    assert [each.version for each in found] == expected
