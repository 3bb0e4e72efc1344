"""Model folders: what is saved comes back exactly, and damage is found and told."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame
from tests.support.saved_models import ITEMS, RANK, USERS, ArrowFrame, factor_model, saved, side

from matchlake.errors import ModelError
from matchlake.model_store.spark import load_numpy, save_model


def edit_manifest(folder: Path, **changes: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_numpy_model_equals_the_saved_model(tmp_path: Path) -> None:
    model = load_numpy(saved(tmp_path / "model"))
    expected = side("item", ITEMS, 2).sort_by("item_idx")
    assert list(model.user_ids) == USERS
    assert list(model.item_ids) == ITEMS
    np.testing.assert_array_equal(model.item_factors, expected["factors"].to_pylist())
    np.testing.assert_array_equal(model.item_bias, expected["bias"].to_numpy())
    assert model.item_factors.dtype == np.float32
    assert model.user_factors.shape == (len(USERS), RANK)
    assert model.user_interactions is not None
    assert model.user_interactions.tolist() == [1, 2, 3]
    assert (model.mean, model.params) == (3.25, factor_model().params)


@pytest.mark.parametrize("ids", [[7, 8, 9], ["7", "8", "9"], ["ä", "日本", ""]])
def test_ids_keep_their_type_and_their_letters(tmp_path: Path, ids: list[object]) -> None:
    assert list(load_numpy(saved(tmp_path / "model", users=ids)).user_ids) == ids


def test_saving_refuses_a_folder_that_is_there(tmp_path: Path) -> None:
    folder = saved(tmp_path / "model")
    before = sorted(folder.rglob("*"))
    with pytest.raises(ModelError, match="exists already"):
        save_model(factor_model(), folder)
    in_memory: Any = load_numpy(folder)
    with pytest.raises(ModelError, match="NumpyFactorModel is a model in this process's memory"):
        save_model(in_memory, tmp_path / "other")
    assert sorted(folder.rglob("*")) == before


def test_saving_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    class Failing(ArrowFrame):
        def toArrow(self) -> pa.Table:  # noqa: N802 - Spark's name
            raise RuntimeError("executor lost")

    model = factor_model()
    object.__setattr__(model, "item_factors", Failing(pa.table({})))
    with pytest.raises(RuntimeError, match="executor lost"):
        save_model(model, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["s3://bucket/model", "abfss://c@a/model", "dbfs:/model"])
def test_addresses_that_are_no_folder_are_refused(path: str) -> None:
    with pytest.raises(ModelError, match="local folder or a mounted one"):
        save_model(factor_model(), path)


def truncate(folder: Path) -> None:
    path = folder / "users" / "part-0.parquet"
    path.write_bytes(path.read_bytes()[:-9])


def flip_a_bit(folder: Path) -> None:
    path = folder / "items" / "part-0.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut_manifest(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text()[:40])


DAMAGE = {
    "no manifest": (lambda f: (f / "manifest.json").unlink(), "is not a complete model"),
    "manifest cut short": (cut_manifest, "incomplete"),
    "manifest of something else": (
        lambda f: (f / "manifest.json").write_text("[]"),
        "is not the manifest of a model",
    ),
    "no version": (lambda f: edit_manifest(f, format_version=None), "no format version"),
    "newer": (
        lambda f: edit_manifest(f, format_version=4, written_by="matchlake 9.9"),
        "matchlake 9.9 in format 4.*Upgrade",
    ),
    "older": (lambda f: edit_manifest(f, format_version=2), "in format 2.*Train"),
    "unknown key": (lambda f: edit_manifest(f, kind="svd"), r"is damaged \(kind\)"),
    "unknown algorithm": (lambda f: edit_manifest(f, algorithm="svd"), "'svd'.*als.*Upgrade"),
    "unknown parameter": (lambda f: edit_manifest(f, params={"rnk": 3}), r"is damaged \(rnk\)"),
    "file missing": (lambda f: (f / "items" / "part-0.parquet").unlink(), "is missing"),
    "file cut short": (truncate, "were written"),
    "file damaged": (flip_a_bit, "SHA-256"),
    "rows missing": (lambda f: edit_manifest(f, users=2), "3 user rows.* 0 to 1"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_a_model_error_with_instructions(tmp_path: Path, kind: str) -> None:
    folder = saved(tmp_path / "model")
    damage, message = DAMAGE[kind]
    damage(folder)
    with pytest.raises(ModelError, match=message) as told:
        load_numpy(folder)
    assert any(word in str(told.value) for word in ("Fetch", "Upgrade", "Train"))


def test_files_beside_the_manifests_own_are_not_read(tmp_path: Path) -> None:
    folder = saved(tmp_path / "model")
    pq.write_table(side("user", ["eve"], 3), folder / "users" / "stray.parquet")
    assert list(load_numpy(folder).user_ids) == USERS


@pytest.mark.parametrize("name", ["../other.parquet", "users/../../other.parquet", "/{}"])
def test_a_manifest_that_leads_out_of_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    folder = saved(tmp_path / "model")
    other = tmp_path / "other.parquet"
    shutil.copy(folder / "users" / "part-0.parquet", other)
    files = json.loads((folder / "manifest.json").read_text())["files"]
    name = name.format(str(other).lstrip("/"))
    edit_manifest(folder, files=files | {name: files["users/part-0.parquet"]})
    with pytest.raises(ModelError, match="which is outside the folder"):
        load_numpy(folder)


def test_a_model_with_folded_rows_is_not_saved(tmp_path: Path) -> None:
    model = factor_model()
    table = side("user", ["ann", "bob", "late"], 1)
    later = pa.array([1 << 62, 1, 0], pa.int64())
    users = ArrowFrame(table.set_column(1, "user_idx", later))
    with pytest.raises(ModelError, match=r"1 of 3 users are not rows of the fit: fold_in added"):
        save_model(replace(model, user_factors=cast("DataFrame", users)), tmp_path / "model")
    assert not list(tmp_path.iterdir())
