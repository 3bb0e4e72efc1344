"""The errors of Spark's readers for corrupt files, as the reason in the quarantine."""

import re

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from matchlake.ingest.files.discovery import LakeFile

Corrupt = dict[LakeFile, str]
"""Files that are rejected as a whole, with the reason."""
FAILED = (PySparkException, Py4JError)
"""The errors of a failed read."""
TOO_LONG = "exceeds the maximum number of characters"
"""The error of the CSV reader for a field that is too long."""
# The errors of readers for corrupt bytes. Any other error, such as a storage that does not answer
# or an expired login, fails the job and rejects no file.
_BROKEN = re.compile(
    r"[^\n]*(EOFException: (Unexpected|Premature|Reached the) end|not a gzip file|gzip stream"
    r"|IOException: (invalid (block|stored|code|distance|literal|bit|window)|too many length)"
    r"|IOException: ((incorrect (data|length)|unknown (compression|header)|header crc)|crc error)"
    r"|DataFormatException|ZipException|incorrect header check|bad block header|not BZip2"
    r"|FAILED_TO_UNCOMPRESS|is not a Parquet file|could not read page"
    r"|[Cc]an ?not read class org\.apache\.parquet|java\.lang\.StackOverflowError"
    rf"|{TOO_LONG}"
    r"|[Cc]orrupt(ed)? (file|page|block|footer|statistics))[^\n]*"
)
_SHOWN = 300


def corruption(error: Exception) -> str:
    """The message of the reader for a corrupt file; raises any other error."""
    found = _BROKEN.search(str(error))
    if not found:
        raise error
    return found[0].strip().removeprefix("Caused by: ")[:_SHOWN]
