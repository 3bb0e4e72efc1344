"""Conf of images: what it accepts, and what makes an embedding another one."""

from typing import Any

import pytest

from matchlake.errors import ParameterError
from matchlake.ingest.images.params import ImageSource, Preprocessing


def source(**keys: Any) -> ImageSource:
    given = {"path": "covers/*", "table": "bronze.covers", "comment": "c", "model": "/m.onnx"}
    return ImageSource(**given | keys)


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"path": "../covers"}, "must be below the folder"),
        ({"model": "abfss://c@a.dfs.core.windows.net/m.onnx"}, "not a URL"),
        ({"key_pattern": "(["}, "is not a valid regular expression"),
        ({"key_pattern": "[0-9]+"}, "has no group"),
        ({"features_table": "bronze.covers"}, "must differ from table"),
        ({"table": "covers"}, "not a valid name"),
        ({"max_pixels": 0}, "must be 1 or more"),
        ({"preprocessing": {"std": [1, 0, 1]}}, "must be greater than 0"),
        ({"preprocessing": {"mean": [0.5]}}, "mean"),
        ({"preprocessing": {"resampling": "magic"}}, "resampling"),
    ],
)
def test_image_source_refuses(keys: dict[str, Any], told: str) -> None:
    with pytest.raises(ParameterError, match=told):
        source(**keys)


@pytest.mark.parametrize(
    ("pattern", "name", "key"),
    [
        (None, "42.jpg", "42"),
        (None, "a.b.jpg", "a.b"),
        (None, "noending", None),
        ("^([0-9]+)[_.]", "42_front.jpg", "42"),
        ("^([0-9]*)_", "_front.jpg", None),
        ("^(?:a|b(x))", "a.png", None),
    ],
)
def test_key_of(pattern: str | None, name: str, key: str | None) -> None:
    assert source(**({"key_pattern": pattern} if pattern else {})).key_of(name) == key


def test_settings_hash_changes_with_all_that_changes_rows() -> None:
    others = [
        source(preprocessing=Preprocessing(crop=128)),
        source(output="pooled"),
        source(key_pattern="^(.)"),
        source(max_file_bytes=10),
        source(max_pixels=10),
    ]
    assert len({source().settings_hash, *(each.settings_hash for each in others)}) == 6
    same = source(comment="d", required=True, path="x", table="bronze.x", model="/n.onnx")
    assert same.settings_hash == source().settings_hash
