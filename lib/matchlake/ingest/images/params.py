"""The parameters of images and their embeddings. Imports no Spark."""

import hashlib
import re
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from matchlake.io.storage import check_below, check_place, is_local
from matchlake.params import Params, Settable
from matchlake.schemas import TableName

PerChannel = tuple[float, float, float]
IMAGENET_SIZE = 224
"""The input size of a model that takes images of any size."""


class Preprocessing(Params):
    """The steps before the model; the defaults are those of ImageNet models."""

    resize: int | None = Field(None, ge=1, le=8192)
    """The length of the shorter side after resizing; null: 8/7 of `crop`, so 256 for 224."""
    crop: int | None = Field(None, ge=1, le=8192)
    """The side of the square that is cut from the centre; null: the input size of the model, or
    224 if it takes any size."""
    resampling: Literal["bilinear", "bicubic", "lanczos", "box", "nearest"] = "bilinear"
    """The resampling filter, by its name in Pillow."""
    channels: Literal["rgb", "bgr"] = "rgb"
    """The order of the colours that the model expects."""
    mean: PerChannel = (0.485, 0.456, 0.406)
    """The mean per colour, in the order of `channels`; values of colours are from 0 to 1."""
    std: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (0.229, 0.224, 0.225), min_length=3, max_length=3
    )
    """The standard deviation per colour, in the order of `channels`."""


class ImageSource(Params):
    """Image files of one kind, and the table with one row per file."""

    path: str
    """The path of the files below `lake.folder`; `*` matches any part of a name."""
    table: TableName
    """The bronze table: one row per file, with its embedding, or with the error."""
    comment: str
    """The comment of the table."""
    features_table: TableName | None = None
    """The table of item features: one row per item, one column per number of the embedding
    (`embedding_0`, `embedding_1`, ...); null: none."""
    model: str
    """The ONNX file, at a path that every node of the cluster opens, such as a volume."""
    output: str | None = None
    """The output of the model that is the embedding; null: its first output."""
    key_pattern: str = r"^(.+)\.[^.]+$"
    """The regular expression on a file's name, without folders; its first group is the
    `item_id`."""
    preprocessing: Preprocessing = Preprocessing()
    max_file_bytes: int = Field(20_000_000, ge=1, le=1_000_000_000)
    """A larger file is quarantined without being read."""
    max_pixels: int = Field(50_000_000, ge=1, le=150_000_000)
    """An image with more pixels is quarantined without being decoded."""
    required: bool = False
    """Whether the job fails if there is no file; else it warns."""

    @field_validator("path")
    @classmethod
    def _validate_path(cls, path: str) -> str:
        return check_below(path)

    @field_validator("model")
    @classmethod
    def _validate_model(cls, path: str) -> str:
        if not is_local(check_place(path)):
            raise ValueError("must be a path that Python can open, such as /Volumes/..., not a URL")
        return path

    @field_validator("key_pattern")
    @classmethod
    def _validate_key_pattern(cls, pattern: str) -> str:
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"is not a valid regular expression: {error}") from None
        if groups < 1:
            raise ValueError("has no group: put the part that is the item_id into parentheses")
        return pattern

    @model_validator(mode="after")
    def _validate_tables(self) -> Self:
        if self.features_table == self.table:
            raise ValueError("features_table must differ from table")
        return self

    def key_of(self, name: str) -> str | None:
        """The item_id of a file's name; None if the name does not match."""
        found = re.search(self.key_pattern, name)
        return (found[1] or None) if found else None

    @property
    def settings_hash(self) -> str:
        """A hash of everything besides file and model that determines the embedding."""
        settings = self.model_dump_json(include={"preprocessing", "output", "key_pattern"})
        limits = f"{self.max_file_bytes} {self.max_pixels}"
        return hashlib.sha256(f"{settings} {limits}".encode()).hexdigest()[:16]


class ImagesParams(Params):
    """The images that `embed_images` reads."""

    device: Settable[Literal["auto", "cpu", "cuda"]] = "auto"
    """Where models run. auto, cuda: on the GPU if onnxruntime finds a GPU, else on the CPU; the log
    says so."""
    batch_size: Settable[int] = Field(16, ge=1, le=1024)
    """Images per call of the model, unless the model has a fixed number."""
    sources: dict[str, ImageSource] = Field(default_factory=dict)
    """The declared images by name."""
