"""Finds why a file is not loaded, from the errors of Spark's readers."""

import re
from typing import NamedTuple

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from matchlake.ingest.files.discovery import LakeFile

FAILED = (PySparkException, Py4JError)
"""The errors of a failed read."""
TOO_LONG = "exceeds the maximum number of characters"
"""The error of the CSV reader for a field that is too long."""
OVERFLOW = "long overflow"
"""The error of the Parquet reader for milliseconds outside the range of Spark's timestamps."""
CORRUPT, REFUSED, UNREADABLE = "corrupt", "refused", "found"
"""The status of a file in the log: broken; with other columns than declared; not readable now."""


class Fault(NamedTuple):
    """Why a file is not loaded."""

    status: str
    """`CORRUPT`, `REFUSED` or `UNREADABLE`."""
    reason: str


Faults = dict[LakeFile, Fault]
# The texts of readers' errors that mean corrupt bytes.
_BROKEN = re.compile(
    r"[^\n]*(EOFException: (Unexpected|Premature|Reached the) end|not a gzip file|gzip stream"
    r"|IOException: (invalid (block|stored|code|distance|literal|bit|window)|too many length)"
    r"|IOException: ((incorrect (data|length)|unknown (compression|header)|header crc)|crc error)"
    r"|DataFormatException|ZipException|incorrect header check|bad block header|not BZip2"
    r"|FAILED_TO_UNCOMPRESS|is not a Parquet file|could not read page|could not read the footer"
    r"|[Cc]an ?not read class org\.apache\.parquet|java\.lang\.StackOverflowError"
    rf"|{TOO_LONG}"
    r"|[Cc]orrupt(ed)? (file|page|block|footer|statistics))[^\n]*"
)
# The errors that belong to one file. Any other error, such as a storage that does not answer or an
# expired login, fails the source and rejects no file.
_OF_FILE = re.compile(
    r"FileNotFoundException|FILE_NOT_EXIST|PATH_NOT_FOUND|Permission denied"
    r"|AccessControlException|FAILED_READ_FILE|AccessDenied"
)
_OF_STORAGE = re.compile(r"[Tt]imed? ?out|Connection|UnknownHost|SocketException|Unauthorized")
_FRAMES = re.compile(r"^\s*at .*$", re.MULTILINE)
_NOISE = re.compile(r"^\s*(at |File \"|Traceback|JVM stacktrace|Caused by: *$|== SQL|\^)")
_CAUSE = re.compile(r"Caused by: (?:[\w.$]+(?:Exception|Error): )?([^\n]+)")
_CLASSES = re.compile(r"\b(?:[a-z]\w*\.)+[A-Z]\w*(?:Exception|Error)?: ")
_SHOWN = 300


def fault_of(error: Exception) -> Fault:
    """Why a file cannot be read. Raises the error again if it does not belong to one file."""
    text = str(error)
    if found := _BROKEN.search(text):
        return Fault(
            CORRUPT, _CLASSES.sub("", found[0].strip().removeprefix("Caused by: "))[:_SHOWN]
        )
    told = _FRAMES.sub("", text)
    if _OF_FILE.search(told) and not _OF_STORAGE.search(told):
        return Fault(UNREADABLE, sentence_of(error))
    raise error


def sentence_of(error: Exception) -> str:
    """The message of an error of Spark as one line, without traces and names of classes."""
    text = str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line for line in lines if not _NOISE.match(line)] or [type(error).__name__]
    first = _CLASSES.sub("", told[0])
    causes = _CAUSE.findall(text)
    cause = _CLASSES.sub("", causes[-1]).strip() if causes else ""
    both = first if not cause or cause in first else f"{first} ({cause})"
    return both if len(both) <= _SHOWN else f"{both[:_SHOWN]}..."
