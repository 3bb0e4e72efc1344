"""Searches files for the id of a user, also within containers. Spark's tasks read the files."""

import csv
import io
import os
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession

from matchlake.ingest.columns import ColumnParams
from matchlake.ingest.parse.casts import convert
from matchlake.io.secrets.masking import written_forms
from matchlake.lakehouse.containers import Opened, layers

if TYPE_CHECKING:
    import pandas as pd

SHORTEST = 6
"""Ids with fewer characters are searched only in named fields: in texts they match by chance."""
LARGEST = 256 * 2**20
"""Larger files are not searched, in bytes."""

_AS_TEXT = ColumnParams(type="string", comment="The id", required=False)
"""The types as which ids of files are compared: as a load would write them."""
_ENCODINGS = ("cp1252", "utf-16-le", "utf-16-be")
_FOUND, _UNREAD = "found", "unread"
_WORD = rb"[A-Za-z0-9_-]"


class FilesFound(NamedTuple):
    """The result of a search; both lists have sorted paths."""

    found: list[str]
    """Files that hold the id."""
    unread: list[str]
    """Files that could not be searched to their end."""


@dataclass(frozen=True)
class IdSearch:
    """Looks for the id of a user in bytes. It does not print the id, and can be sent to tasks.

    An id is found as the value of a named field: a column of a Parquet file, a column of a CSV
    file with a header, or a key of a JSON object. An id of at least SHORTEST characters is also
    found as a whole word anywhere, and in base64, URLs and JSON escapes.
    """

    user: str = field(repr=False)
    columns: tuple[str, ...]
    """The names of columns and keys that hold ids of users."""

    @property
    def is_in_texts(self) -> bool:
        """Whether the id is long enough to be searched in texts."""
        return len(self.user) >= SHORTEST

    def result(self, raw: bytes) -> str | None:
        """`found`, `unread` if the bytes cannot be read to their end, or None."""
        opened = Opened()
        if self._in_parquet(raw) or any(map(self._is_in, layers(raw, opened))):
            return _FOUND
        return None if opened.is_whole else _UNREAD

    @cached_property
    def _forms(self) -> list[bytes]:
        if not self.is_in_texts:
            return []
        forms = {form.encode() for form in written_forms(self.user) - {self.user}}
        return [*forms, *_encoded(self.user)]

    @cached_property
    def _text(self) -> re.Pattern[bytes]:
        user = re.escape(self.user.encode())
        names = b"|".join(re.escape(name.encode()) for name in self.columns)
        key = rb'"(' + names + rb')"\s*:\s*"?' + user + rb'"?\s*[,}\]]'
        word = rb"|(?<!" + _WORD + rb")" + user + rb"(?!" + _WORD + rb")"
        return re.compile(key + word if self.is_in_texts else key)

    def _is_in(self, text: bytes) -> bool:
        if any(form in text for form in self._forms) or self._text.search(text):
            return True
        return not self.is_in_texts and self._in_csv(text)

    def _in_csv(self, text: bytes) -> bool:
        header = text.split(b"\n", 1)[0].decode(errors="replace")
        for separator in (",", ";", "\t", "|"):
            names = [name.strip(' "\r') for name in header.split(separator)]
            at = [index for index, name in enumerate(names) if name in self.columns]
            if at:
                rows = csv.reader(io.StringIO(text.decode(errors="replace")), delimiter=separator)
                return any(row[i] == self.user for row in rows for i in at if i < len(row))
        return False

    def _in_parquet(self, raw: bytes) -> bool:
        if raw[:4] != b"PAR1":
            return False
        try:
            file = pq.ParquetFile(pa.BufferReader(raw))
            names = [name for name in file.schema_arrow.names if name in self.columns]
            return any(
                pc.any(pc.equal(convert(column, _AS_TEXT)[0], self.user)).as_py()
                for batch in file.iter_batches(columns=names)
                for column in batch.columns
            )
        except (OSError, pa.ArrowException):
            return False  # `layers` reports a broken file as not read


def _encoded(user: str) -> set[bytes]:
    """The id in other encodings of text files than UTF-8."""
    found = set()
    for encoding in _ENCODINGS:
        with suppress(UnicodeEncodeError):
            found.add(user.encode(encoding))
    return found - {user.encode()}


def search_files(
    spark: SparkSession, folder: str, search: IdSearch, skip: Collection[str] = ()
) -> FilesFound:
    """The files below a folder that hold the id, without the paths in `skip`.

    A folder that does not exist has no files. Files of a URL, such as abfss, are read by Spark,
    which does not list names that begin with `_` or `.`.
    """
    found = _found_at_url if re.match(r"(?!file:)[a-z0-9]+:/", folder) else _found_at_path
    rows = found(spark, folder.removeprefix("file:"), search, frozenset(skip))
    by_result: dict[str, list[str]] = {_FOUND: [], _UNREAD: []}
    for path, result in rows:
        by_result[result].append(path)
    return FilesFound(sorted(by_result[_FOUND]), sorted(by_result[_UNREAD]))


def _found_at_path(
    spark: SparkSession, folder: str, search: IdSearch, skip: frozenset[str]
) -> list[tuple[str, str]]:
    paths = [path for path in _walk(folder) if path not in skip]
    if not paths:
        return []

    def read(path: str) -> str | None:
        try:
            if Path(path).stat().st_size > LARGEST:
                return _UNREAD
            return search.result(os.fsencode(path)) or search.result(Path(path).read_bytes())
        except FileNotFoundError:
            return None  # a job has removed the file meanwhile
        except OSError:
            return _UNREAD

    def read_all(batches: Iterator["pd.DataFrame"]) -> Iterator["pd.DataFrame"]:
        for batch in batches:
            yield batch.assign(result=batch["path"].map(read)).dropna(subset=["result"])

    rows = spark.createDataFrame([(path,) for path in paths], "path string")
    return _collected(rows.mapInPandas(read_all, "path string, result string"))


def _found_at_url(
    spark: SparkSession, folder: str, search: IdSearch, skip: frozenset[str]
) -> list[tuple[str, str]]:
    reader = spark.read.format("binaryFile").option("recursiveFileLookup", value=True)
    try:
        files = reader.load(folder)
    except AnalysisException as error:
        if error.getCondition() != "PATH_NOT_FOUND":
            raise
        return []

    def read_all(batches: Iterator["pd.DataFrame"]) -> Iterator["pd.DataFrame"]:
        for batch in batches:
            kept = batch[~batch["path"].isin(skip)]
            results = kept["content"].map(lambda raw: search.result(bytes(raw)))
            yield kept[["path"]].assign(result=results).dropna(subset=["result"])

    schema = "path string, result string"
    small = files.where(f"length <= {LARGEST}").select("path", "content")
    large = files.where(f"length > {LARGEST}").selectExpr("path", f"'{_UNREAD}' AS result")
    return _collected(small.mapInPandas(read_all, schema).union(large))


def _collected(rows: DataFrame) -> list[tuple[str, str]]:
    return [(row["path"], row["result"]) for row in rows.collect()]


def _walk(folder: str) -> Iterator[str]:
    """All files below a folder, or the file itself."""
    if Path(folder).is_file():
        yield folder
    for at, _, names in os.walk(folder):
        yield from (str(Path(at, name)) for name in names)
