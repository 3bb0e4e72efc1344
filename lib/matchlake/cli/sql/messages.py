"""One message for a failed query, without plans and stack traces."""

import difflib
import re
from collections.abc import Collection

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException

_POSITION = re.compile(r"line (\d+),? (pos|position) (\d+)")
# These parts are removed: SQLSTATE codes, and advice on settings that an analyst cannot change.
_CODE = re.compile(r"^\[[A-Z0-9_.]+\]\s*")
_NOISE = re.compile(r"\s*(SQLSTATE: \w+|If necessary set [^.]*\S+ to [^.]*bypass this error\.)")


def describe_error(error: Exception) -> str:
    """The error's first sentence, and its line and position in the query."""
    if isinstance(error, Py4JJavaError):
        return str(error.java_exception.toString()).splitlines()[0]
    text = error.getMessage() if isinstance(error, PySparkException) else str(error)
    sentence = _NOISE.sub("", _CODE.sub("", (text or str(error)).strip()).partition("\n==")[0])
    sentence = " ".join(sentence.split())
    match = _POSITION.search(str(error))
    if match is None:
        return sentence
    line, kind, position = match.groups()
    # Spark counts `pos` from 0 and `position` from 1.
    return f"{sentence} (line {line}, position {int(position) + (kind == 'pos')})"


def missing_table(name: str, there: Collection[str], jobs: Collection[str]) -> str:
    """The message for a missing table or view, with the jobs that write it or a similar name."""
    if jobs:
        return f"There is no table or view {name} yet. To create it, run {_commands(jobs)}."
    short = {each.partition(".")[2]: each for each in there}
    close = difflib.get_close_matches(name, [*there, *short], n=1)
    hint = f" Did you mean {short.get(close[0], close[0])}?" if close else ""
    return f"There is no table {name}.{hint} Tables and views: {', '.join(there) or 'none yet'}."


def _commands(jobs: Collection[str]) -> str:
    return ", then ".join(f"`matchlake run {job}`" for job in jobs)
