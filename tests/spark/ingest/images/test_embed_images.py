"""The job `embed_images` on a small folder of every kind of image."""

import logging
import os
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pyspark.sql import SparkSession
from tests.support.backbones import pooled, pooled_oracle
from tests.support.sources import ROOT
from tests.support.streams import runtime_in

from matchlake.errors import MatchlakeError, SourceError
from matchlake.runtime import Runtime

RUN = runpy.run_path(str(ROOT / "jobs" / "embed_images.py"))["run"]
TABLE, FEATURES = "bronze.cover_images", "gold.cover_features"
SIDE = 8


class Covers:
    """A lake with images, and the runtime of its jobs."""

    def __init__(self, spark: SparkSession, folder: Path, **keys: Any) -> None:
        self.spark, self.folder, self.keys = spark, folder / "lake" / "covers", keys
        self.folder.mkdir(parents=True)
        self.model = folder / "backbone.onnx"
        self.matrix = pooled(self.model, side=SIDE)
        self.clock = 1_700_000_000

    def add(self, name: str, content: Image.Image | bytes, **options: Any) -> np.ndarray[Any, Any]:
        """Writes a file that is newer than all before it; returns the pixels of an image."""
        path = self.folder / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            content.save(path, **options)
        self.clock += 10
        os.utime(path, (self.clock, self.clock))
        return (
            np.asarray(content.convert("RGB")) if isinstance(content, Image.Image) else np.empty(0)
        )

    def runtime(self, device: str = "auto", **more: Any) -> Runtime:
        source = {
            "path": "covers/*",
            "table": TABLE,
            "comment": "Covers.",
            "features_table": FEATURES,
            "model": str(self.model),
            "key_pattern": r"^([0-9]+)[_. ]",
            "preprocessing": {"resize": SIDE, "resampling": "nearest"},
            "max_pixels": 10_000,
            "max_file_bytes": 10_000,
        }
        keys = source | self.keys | more
        images = {"device": device, "batch_size": 3, "sources": {"covers": keys}}
        folder = self.folder.parent.parent
        return runtime_in(self.spark, folder, images=images)

    def run(self, **more: Any) -> None:
        RUN(self.runtime(**more))

    @property
    def rows(self) -> dict[str, Any]:
        rows = self.runtime().lakehouse.read(TABLE).collect()
        return {row["file"].rpartition("/")[2]: row for row in rows}

    @property
    def features(self) -> dict[str, list[float]]:
        return {row[0]: list(row[1:]) for row in self.runtime().lakehouse.read(FEATURES).collect()}

    @property
    def versions(self) -> tuple[int, int]:
        lake = self.runtime().lakehouse
        return lake.version(TABLE), lake.version(FEATURES)


@pytest.fixture
def covers(spark: SparkSession, tmp_path: Path) -> Iterator[Covers]:
    yield Covers(spark, tmp_path)
    for table in (TABLE, FEATURES):
        spark.sql(f"DROP TABLE IF EXISTS {table}")


def noise(seed: int) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    return Image.fromarray(values)


def test_embed_images_every_file_is_an_embedding_or_a_reason(
    covers: Covers, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    kept = {
        "1": covers.add("1.png", noise(1)),
        "2": covers.add("2 [a]*.bmp", noise(2)),
        "3": covers.add("3.tif", Image.new("CMYK", (8, 8), (20, 200, 90, 9))),
        "4": covers.add("4.gif", noise(4).convert("P")),
        "5": np.full((8, 8, 3), 7),
        "6": covers.add("6.gif", noise(6).convert("L"), save_all=True, append_images=[noise(7)]),
        "14": np.empty(0),
    }
    covers.add("5.png", Image.new("RGB", (1, 1), (7, 7, 7)))
    covers.add("7.png", noise(7))
    covers.add("7.png", (covers.folder / "7.png").read_bytes()[:90])
    covers.add("8.jpg", b"no image")
    covers.add("9.png", b"")
    covers.add("10.bmp", Image.new("RGB", (90, 90)))
    covers.add("11.png", Image.new("RGB", (1001, 10)))
    covers.add("cover.png", noise(12))
    covers.add("13.tif", Image.fromarray(np.zeros((8, 8), np.float32)))
    covers.add("14_old.png", noise(13))
    kept["14"] = covers.add("14_new.png", noise(14))
    covers.run()
    rows = covers.rows
    assert {name: row["error_code"] for name, row in rows.items() if row["error_code"]} == {
        "7.png": "corrupt_image",
        "8.jpg": "not_an_image",
        "9.png": "empty_file",
        "10.bmp": "too_many_bytes",
        "11.png": "too_many_pixels",
        "cover.png": "no_key",
        "13.tif": "unsupported_pixels",
        "14_old.png": "duplicate_key",
    }
    assert len(rows) == len(list(covers.folder.iterdir())) == 15
    embedded = {row["item_id"]: row for row in rows.values() if row["error_code"] is None}
    assert embedded.keys() == kept.keys()
    for key, pixels in kept.items():
        expected = pooled_oracle(pixels, covers.matrix)
        assert np.allclose(embedded[key]["embedding"], expected, rtol=0, atol=1e-5), key
        assert embedded[key]["device"] == "cpu"
    for row in rows.values():
        assert (row["embedding"] is None) == (row["error_message"] is not None), row
    assert (rows["6.gif"]["is_animated"], rows["5.png"]["width"]) == (True, 1)
    assert covers.features == {key: row["embedding"] for key, row in embedded.items()}
    told = [record.getMessage() for record in caplog.records]
    assert "covers: embedded 7 on cpu + 8 quarantined into bronze.cover_images" in told
    once = "covers: device is auto, but onnxruntime finds no GPU: the model runs on the CPU"
    assert told.count(once) == 1
    versions = covers.versions
    covers.run()
    assert covers.versions == versions, "a second run writes nothing"


@pytest.mark.soak
def test_embed_images_embeds_only_what_is_new_or_changed(covers: Covers) -> None:
    for number in range(1, 4):
        covers.add(f"{number}.png", noise(number))
    covers.add("bad_name.png", noise(4))
    covers.run()
    first, versions = covers.rows, covers.versions
    covers.run()
    assert covers.versions == versions, "a second run writes nothing"

    pixels = covers.add("1.png", noise(11))
    covers.add("2.png", b"broken now")
    (covers.folder / "3.png").unlink()
    covers.add("4.png", noise(4))
    covers.run()
    rows = covers.rows
    assert np.allclose(rows["1.png"]["embedding"], pooled_oracle(pixels, covers.matrix), atol=1e-5)
    assert (rows["2.png"]["embedding"], rows["2.png"]["error_code"]) == (None, "not_an_image")
    kept = ("3.png", "bad_name.png")
    assert all(rows[name] == first[name] for name in kept), "deleted or unchanged: its row stays"
    assert covers.features.keys() == {"1", "3", "4"}

    covers.add("3_again.png", noise(5))
    covers.add("4_again.png", noise(6))
    covers.run()
    rows = covers.rows
    assert "3.png" not in rows, "another file has the item of the deleted one"
    assert rows["4.png"]["error_code"] == "duplicate_key"
    assert covers.features.keys() == {"1", "3", "4"}
    (covers.folder / "4_again.png").unlink()
    covers.run()
    rows = covers.rows
    assert (rows["4.png"]["error_code"], "4_again.png" in rows) == (None, False)

    matrix = pooled(covers.model, numbers=2, seed=5, side=SIDE)
    covers.run(device="cuda")
    rows = covers.rows
    expected = pooled_oracle(pixels, matrix)
    assert np.allclose(rows["1.png"]["embedding"], expected, atol=1e-5), "another model"
    assert {len(numbers) for numbers in covers.features.values()} == {2}


def test_embed_images_refuses_before_it_reads(covers: Covers, tmp_path: Path) -> None:
    covers.run()  # a folder without files gives a warning
    with pytest.raises(SourceError, match=r"No file .* images\.sources\.covers is required"):
        covers.run(required=True)
    covers.add("1.png", noise(1))
    for keys, told in (
        ({"model": str(tmp_path / "none.onnx")}, "cannot be read"),
        ({"output": "maps"}, "is not one vector per image"),
    ):
        with pytest.raises(MatchlakeError, match=told):
            covers.run(**keys)
    assert not covers.runtime().lakehouse.exists(TABLE)
