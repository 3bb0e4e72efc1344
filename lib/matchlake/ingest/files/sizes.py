"""Measures text files before they are read: a line or a file may be too large for the memory.

Spark's readers hold a whole line, and decompress a file as they read it. So one small compressed
file with a line of gigabytes would end the job in each run. Both measurements stream: they hold no
more of a line than the limit. They run on the executors, with the logins of the job.

- A file that is not compressed is split, and read with Hadoop's limit on lines, which skips longer
  ones. Then the lines that were read have fewer bytes than the file. A file that is smaller than
  the limit is not measured.
- The decompressed size of a compressed file is unknown. Spark's CSV reader streams it as a table of
one column, and
  fails at a field above its limit. In ISO 8859-1 each byte is one character.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pyspark.sql import Column, DataFrame, DataFrameReader, SparkSession
from pyspark.sql import functions as F

from matchlake.ingest.files.corruption import CORRUPT, FAILED, TOO_LONG, Fault, Faults, fault_of
from matchlake.ingest.files.discovery import LakeFile
from matchlake.ingest.parse.bisect import bisect_failures

_PACKED = (".gz", ".bz2", ".deflate", ".lz4", ".snappy", ".zst")
"""The file extensions that Hadoop decompresses."""
_BYTE_ORDER_MARK = 3
"""The bytes that Hadoop skips at the start of a file."""
# ISO 8859-1 does not have these characters, so no byte is a separator or a quote.
_NO_DIALECT = {"sep": "\u2400", "quote": "\u2401", "escape": "\u2401", "lineSep": "\n"}


@dataclass(frozen=True)
class TextLimits:
    """The limits on the lines and the sizes of text files."""

    max_line_bytes: int
    max_unpacked_bytes: int | None
    spark: SparkSession = field(repr=False)

    def exceeded(self, files: Sequence[LakeFile]) -> Faults:
        """The files that exceed a limit, or that cannot be decompressed, with the reason."""
        packed = [file for file in files if file.file.endswith(_PACKED)]
        large = [file for file in files if file.size > self.max_line_bytes]
        return self._plain([file for file in large if file not in packed]) | self._packed(packed)

    def reader(self, reader: DataFrameReader) -> DataFrameReader:
        """The reader with Hadoop's limit on lines: it skips longer ones, without an error."""
        # Hadoop counts the line end too, and skips a line whose length equals the limit.
        name = "mapreduce.input.linerecordreader.line.maxlength"
        return reader.option(name, self.max_line_bytes + 2)

    def _plain(self, files: Sequence[LakeFile]) -> Faults:
        if not files:
            return {}
        reader = self.reader(self.spark.read.option("lineSep", "\n"))
        faults: Faults = {}

        def passes(start: int, stop: int) -> bool:
            some = files[start:stop]
            try:
                lines = reader.text([file.path for file in some])
                read = _bytes_by_file(lines, F.octet_length("value"))
            except FAILED as error:
                failed[files[start]] = fault_of(error)
                return False
            long = (f for f in some if f.size - read.get(f.file, 0) > _BYTE_ORDER_MARK)
            faults.update(dict.fromkeys(long, self._too_long))
            return True

        failed: Faults = {}
        faults |= {files[at]: failed[files[at]] for at in bisect_failures(len(files), passes)}
        return faults

    def _packed(self, files: Sequence[LakeFile]) -> Faults:
        exceeded: Faults = {}

        def passes(start: int, stop: int) -> bool:
            try:
                read = self._unpacked(files[start:stop])
            except FAILED as error:
                fault = fault_of(error)
                exceeded[files[start]] = self._too_long if TOO_LONG in fault.reason else fault
                return False
            limit = self.max_unpacked_bytes
            for file in files[start:stop]:
                if limit is not None and (size := read.get(file.file, 0)) > limit:
                    above.append((file, size))
            return True

        above: list[tuple[LakeFile, int]] = []
        failed = {files[at] for at in bisect_failures(len(files), passes)}
        broken = {file: fault for file, fault in exceeded.items() if file in failed}
        most = f"lake.max_unpacked_bytes, {self.max_unpacked_bytes}"
        return broken | {
            file: Fault(CORRUPT, f"{size} bytes decompressed, above {most}") for file, size in above
        }

    def _unpacked(self, files: Sequence[LakeFile]) -> dict[str, int]:
        lines = self.spark.read.csv(
            [file.path for file in files],
            "value STRING",
            encoding="ISO-8859-1",
            multiLine=True,
            maxCharsPerColumn=self.max_line_bytes,
            mode="FAILFAST",
            **_NO_DIALECT,
        )
        return _bytes_by_file(lines, F.length("value"))

    @property
    def _too_long(self) -> Fault:
        limit = f"lake.max_line_bytes, {self.max_line_bytes}"
        return Fault(CORRUPT, f"a line has more bytes than {limit}")


def _bytes_by_file(lines: DataFrame, length: Column) -> dict[str, int]:
    """The bytes of all lines with their ends, by the URL of the file."""
    files = lines.groupBy("_metadata.file_path").agg(F.sum(length + 1).alias("bytes"))
    return {row[0]: int(row[1] or 0) for row in files.collect()}
