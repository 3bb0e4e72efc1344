"""Embeds the image files of the lake: each file once, and again if it has changed.

The table has one row per file, with the embedding or with the error. A crash does not change this:

| file | effect |
|---|---|
| new, or another size or time than before | embedded; or quarantined, with the reason |
| other model, steps or limits than before | as a new file |
| the `item_id` of another file | the last changed one is embedded, the others quarantined |
| deleted | its row stays, until another file has its `item_id` |
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.errors import ReconciliationError, SourceError
from matchlake.ingest.files.discovery import LakeFile, files_at
from matchlake.ingest.images.backbone import BackboneSpec, dimensions, model_hash, open_backbone
from matchlake.ingest.images.decode import ImageError
from matchlake.ingest.images.params import ImageSource, ImagesParams
from matchlake.ingest.images.tables import embedding_column, image_features, image_table
from matchlake.ingest.images.task import ROW, EmbedTask, file_name
from matchlake.io.delta import Lakehouse
from matchlake.io.delta_properties import read_properties, set_properties
from matchlake.schemas import ITEM_ID

_log = logging.getLogger(__name__)

ListedErrors = Mapping[str, tuple[ImageError, str]]
"""The files that are not read, by URL, with error code and message."""

_AT_ONCE = 1000
"""Files per commit, which limits what a crash repeats, and the length of statements."""
_SOURCE_VERSION = "matchlake.images"
"""The property of a feature table with the version of its images, and the hash of the model."""
_LISTED = (
    ImageError.NO_KEY,
    ImageError.DUPLICATE_KEY,
    ImageError.EMPTY_FILE,
    ImageError.TOO_MANY_BYTES,
)
"""The errors that the list of files shows; these files are not read."""


@dataclass(frozen=True)
class ImageLoad:
    """The load of the images of one declared source."""

    name: str
    source: ImageSource
    params: ImagesParams
    pattern: str
    """Folder and path of the files."""
    lakehouse: Lakehouse = field(repr=False)

    def embed(self, now: datetime) -> Counter[str]:
        """Embeds new and changed files; returns the number of files per error code and device.

        Raises:
            SourceError: there is no file, and the source is required.
            ConfigError: the model cannot be read, or takes other images.
            ModelError: the model does not run, or gives no vector per image.
            ReconciliationError: a file of the list has no row; the next run tries it again.
        """
        files = files_at(self.lakehouse.spark, self.pattern)
        if not files:
            self._tell_none()
            return Counter()
        numbers = dimensions(open_backbone(self.backbone))  # fails before any image is read
        self.lakehouse.create(image_table(self.source))
        errors = listed_errors(files, self.source)
        waiting = self._waiting(files, errors)
        counts: Counter[str] = Counter()
        for at in range(0, len(waiting), _AT_ONCE):
            counts += self._write(waiting[at : at + _AT_ONCE], errors, now)
            _log.info("%s: %d of %d new file(s)", self.name, counts.total(), len(waiting))
        if self.source.features_table:
            self._write_features(numbers)
        self._tell(counts)
        return counts

    @cached_property
    def backbone(self) -> BackboneSpec:
        """The model, with the hash of its file at the first use."""
        path, source = str(Path(self.source.model).absolute()), self.source
        return BackboneSpec(
            *(path, model_hash(path), source.output, self.params.device),
            *(source.preprocessing, self.params.batch_size),
        )

    def _waiting(self, files: Sequence[LakeFile], errors: ListedErrors) -> list[LakeFile]:
        """The files whose current state has no row yet."""
        columns = ("file", "size", "modified_at", "model_hash", "settings_hash", "error_code")
        rows = self.lakehouse.read(self.source.table).select(*columns).collect()
        known = {row["file"]: tuple(row)[1:] for row in rows}
        made_by = (self.backbone.model_hash, self.source.settings_hash)

        def is_done(file: LakeFile) -> bool:
            *facts, code = known.get(file.file, (None,))
            if facts != [file.size, file.modified_at, *made_by]:
                return False
            listed = errors.get(file.file)
            return code == listed[0] if listed else code not in _LISTED

        return [file for file in files if not is_done(file)]

    def _write(
        self,
        files: Sequence[LakeFile],
        errors: ListedErrors,
        now: datetime,
    ) -> Counter[str]:
        """Replaces the rows of some files in one commit. Returns the counts of the new rows."""
        spec = image_table(self.source)
        rejected = [file for file in files if file.file in errors]
        fit = [file for file in files if file.file not in errors]
        made_by = {
            "model_hash": F.lit(self.backbone.model_hash),
            "settings_hash": F.lit(self.source.settings_hash),
            "embedded_at": F.lit(now),
        }
        frame = self._rejected(rejected, errors)
        if fit:
            frame = frame.unionByName(self._embedded(fit))
        keys = [self._key(file, errors) for file in files]
        is_of_files = F.col("file").isin([file.file for file in files])
        # The row of a deleted file stays until another file has the same item_id.
        replaced = is_of_files | F.col(ITEM_ID).isin([key for key in keys if key is not None])
        rows = frame.withColumns(made_by).select(spec.column_names)
        self.lakehouse.replace_where(rows, spec, replaced)
        table = self.lakehouse.read(spec.name).where(is_of_files)
        told = F.coalesce("error_code", "device").alias("result")
        counts = Counter({row[0]: row[1] for row in table.groupBy(told).count().collect()})
        if counts.total() != len(files):
            raise ReconciliationError(
                f"{self.name}: {counts.total()} of {len(files)} files have a row in {spec.name}."
                " The files may have changed while they were read. Run the job again."
            )
        return counts

    def _key(self, file: LakeFile, errors: ListedErrors) -> str | None:
        """The item_id of a file; None if the name has none, or if another file has the same one."""
        is_duplicate = errors.get(file.file, (None,))[0] is ImageError.DUPLICATE_KEY
        return None if is_duplicate else self.source.key_of(file_name(file.file))

    def _rejected(self, files: Sequence[LakeFile], errors: ListedErrors) -> DataFrame:
        """The rows of files that are not read."""
        rows = []
        for file in files:
            code, message = errors[file.file]
            facts = (file.file, self._key(file, errors), file.size, file.modified_at)
            rows.append((*facts, *[None] * 7, str(code), message))
        return self.lakehouse.spark.createDataFrame(rows, ROW)

    def _embedded(self, files: Sequence[LakeFile]) -> DataFrame:
        """The rows of the files that are read. Lazy.

        A task reads files of at most 128 MB together. A larger file has a task of its own.
        """
        reader = self.lakehouse.spark.read.format("binaryFile")
        content = (
            reader.load([file.path for file in files])
            .where(F.col("length") <= self.source.max_file_bytes)
            .select(
                F.col("_metadata.file_path").alias("file"),
                F.col("_metadata.file_size").alias("size"),
                F.col("_metadata.file_modification_time").alias("modified_at"),
                "content",
            )
        )
        return content.mapInArrow(EmbedTask(self.source, self.backbone), ROW)

    def _write_features(self, numbers: int) -> None:
        """If the table has changed, replaces the features by those of all images of this model."""
        lake, spec = self.lakehouse, image_features(self.source, numbers)
        version = lake.version(self.source.table)
        mark = {_SOURCE_VERSION: f"{version} {self.backbone.model_hash}"}
        if lake.exists(spec.name) and mark.items() <= read_properties(lake, spec.name).items():
            return
        rows = lake.read(self.source.table, version).where(
            F.col("embedding").isNotNull()
            & (F.col("model_hash") == self.backbone.model_hash)
            & (F.col("settings_hash") == self.source.settings_hash)
        )
        columns = [
            F.col("embedding")[number].alias(embedding_column(number)) for number in range(numbers)
        ]
        lake.replace(rows.select(ITEM_ID, *columns), spec)
        set_properties(lake, spec.name, mark)

    def _tell_none(self) -> None:
        if self.source.required:
            raise SourceError(
                f"No file {self.pattern}, and images.sources.{self.name} is required. Add the"
                " files, or set another `path`."
            )
        _log.warning("%s: no file %s, nothing to embed", self.name, self.pattern)

    def _tell(self, counts: Mapping[str, int]) -> None:
        if self.params.device != "cpu" and counts.get("cpu"):
            is_asked = self.params.device == "cuda"
            text = "%s: device is %s, but onnxruntime finds no GPU: the model runs on the CPU"
            level = logging.WARNING if is_asked else logging.INFO
            _log.log(level, text, self.name, self.params.device)
        for code in sorted(set(counts) - {"cpu", "cuda"}):
            _log.warning("%s: %d file(s) are quarantined: %s", self.name, counts[code], code)


def listed_errors(
    files: Sequence[LakeFile], source: ImageSource
) -> dict[str, tuple[ImageError, str]]:
    """The files that are not read, by URL, with error code and message."""
    errors: dict[str, tuple[ImageError, str]] = {}
    owners: dict[str, LakeFile] = {}
    for file in sorted(files, key=lambda each: (each.modified_at, each.file)):
        key = source.key_of(file_name(file.file))
        if key is None:
            errors[file.file] = (ImageError.NO_KEY, "the name does not match key_pattern")
            continue
        if file.size == 0:
            errors[file.file] = (ImageError.EMPTY_FILE, "the file has no bytes")
        elif file.size > source.max_file_bytes:
            text = f"{file.size} bytes are more than max_file_bytes {source.max_file_bytes}"
            errors[file.file] = (ImageError.TOO_MANY_BYTES, text)
        before = owners.get(key)
        owners[key] = file
        if before is not None:
            text = f"the file {file.file} has the same item_id {key} and changed last"
            errors[before.file] = (ImageError.DUPLICATE_KEY, text)
    return errors


def image_load(name: str, params: ImagesParams, folder: str, lakehouse: Lakehouse) -> ImageLoad:
    """The loader of the images in `folder` that belong to the source `name`."""
    source = params.sources[name]
    return ImageLoad(name, source, params, f"{folder}/{source.path}", lakehouse)
