"""The work of a task: turns the bytes of image files into rows with embeddings or errors."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa

from matchlake.ingest.images.backbone import BackboneSpec, open_backbone
from matchlake.ingest.images.decode import DecodedImage, ImageError, decode
from matchlake.ingest.images.params import ImageSource
from matchlake.ingest.images.tables import IMAGE_COLUMNS

_TYPES = {
    "file": pa.string(),
    "item_id": pa.string(),
    "size": pa.int64(),
    "modified_at": None,  # as it came
    "format": pa.string(),
    "mode": pa.string(),
    "width": pa.int32(),
    "height": pa.int32(),
    "is_animated": pa.bool_(),
    "embedding": pa.list_(pa.float32()),
    "device": pa.string(),
    "error_code": pa.string(),
    "error_message": pa.string(),
}
ROW = ", ".join(f"{each.name} {each.type}" for each in IMAGE_COLUMNS if each.name in _TYPES)
"""The columns of the table that a file gives."""


@dataclass(frozen=True)
class EmbedTask:
    """The function of `mapInArrow`: rows of files with their content -> rows of the table."""

    source: ImageSource
    backbone: BackboneSpec

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Embeds some images at a time, so that few decoded images are in memory."""
        size = self.backbone.batch_size
        for batch in batches:
            for at in range(0, batch.num_rows, size):
                yield self._embedded(batch.slice(at, size))

    def _embedded(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        model, steps = open_backbone(self.backbone), self.source.preprocessing
        limit = self.source.max_pixels
        images = [decode(data.as_py(), limit, model.side, steps) for data in rows["content"]]
        squares = {row: each.pixels for row, each in enumerate(images) if each.pixels is not None}
        vectors: list[np.ndarray[Any, np.dtype[np.float32]] | None] = [None] * len(images)
        if squares:
            found = model.embed(np.stack(list(squares.values())))
            for row, vector in zip(squares, found, strict=True):
                if np.isfinite(vector).all():
                    vectors[row] = vector
                else:
                    text = "the model returned numbers that are infinite or NaN"
                    images[row] = images[row].rejected(ImageError.NOT_FINITE, text)
        files = rows["file"].to_pylist()
        columns: dict[str, Any] = {
            **{name: [getattr(image, name) for image in images] for name in DecodedImage._fields},
            "file": files,
            "item_id": [self.source.key_of(file_name(file)) for file in files],
            "size": rows["size"],
            "modified_at": rows["modified_at"],
            "embedding": vectors,
            "device": [None if vector is None else model.device for vector in vectors],
        }
        arrays = [
            columns[name] if isinstance(columns[name], pa.Array) else pa.array(columns[name], kind)
            for name, kind in _TYPES.items()
        ]
        return pa.RecordBatch.from_arrays(arrays, list(_TYPES))


def file_name(file: str) -> str:
    """The name of a file without its folders, from its URL."""
    return unquote(file).rpartition("/")[2]
