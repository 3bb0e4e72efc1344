"""Finds a user in quarantined records and rows. Their declared columns are null.

A record that can be read names the user if one of its user columns holds the id. A record that
cannot be read, or that holds the id elsewhere, only mentions the user: `42` may be an age.

The functions here run in Python on executors, so that no plan and no history shows the id. Their
time grows linearly with the length of a text.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast

from pyspark.sql import Column as SparkColumn
from pyspark.sql import functions as F
from pyspark.sql.functions import pandas_udf  # type: ignore[attr-defined, unused-ignore]

from matchlake.errors import MatchlakeError
from matchlake.ingest.files.params import LakeSource
from matchlake.ingest.params import StreamParams
from matchlake.ingest.parse.changes import ENVELOPE_PATHS
from matchlake.ingest.parse.paths import path_of
from matchlake.ingest.parse.readers import make_decoder
from matchlake.ingest.rejections import ErrorCode

Match = Literal["names", "mentions"]
Path = Sequence[str]

_UNDECODED = (ErrorCode.VALUE_TOO_LARGE, ErrorCode.KILLS_READER)
NAMES: Match = "names"
MENTIONS: Match = "mentions"


def record_match(stream: StreamParams, user: str) -> Callable[..., Match | None]:
    """The function that matches the key, the value and the error code of a record of the stream.

    A key that is the id names the user too, if the stream has a user column. A value that was not
    decoded, as its error code says, is not decoded here.
    """
    read = make_decoder(stream.format, stream.format_options, stream.columns, stream.limits)
    by_name = stream.format_entry.positional
    paths: list[Path] = [
        (name,) if by_name else path_of(name, stream.columns[name]) for name in stream.persons
    ]
    if stream.change_data == "debezium":
        paths = [(*above, *path) for above in ENVELOPE_PATHS for path in paths]
    names_user = _names_user(paths, user)
    mentions = _mentions(user, stream.format_entry.text_length_factor)
    torn = _torn_json(paths, user) if stream.format == "json" else None

    def match(key: bytes | None, value: bytes | None, code: str | None = None) -> Match | None:
        if paths and key == user.encode():
            return NAMES
        try:
            record = read(value) if value and code not in _UNDECODED else None
        except MatchlakeError:  # such as a registry that does not answer
            record = None
        if isinstance(record, Mapping):
            if names_user(record):
                return NAMES
        elif torn and torn(_text(value)):
            return NAMES
        return MENTIONS if any(each and mentions(each) for each in (key, value)) else None

    return match


def row_match(source: LakeSource, user: str) -> Callable[[str | None], Match | None]:
    """The function that matches the text of a quarantined row of the source."""
    persons = [name for name in source.persons if name in source.in_rows]
    by_path = source.format == "json"
    paths = [path_of(name, source.columns[name]) if by_path else (name,) for name in persons]
    names_user = _names_user(paths, user)
    mentions = _mentions(user)
    torn = _torn_json(paths, user) if by_path else None

    def match(text: str | None) -> Match | None:
        if not text:
            return None
        record = _cells(text, source) if source.format == "csv" else _json(text)
        if isinstance(record, Mapping):
            if names_user(record):
                return NAMES
        elif torn and torn(text):
            return NAMES
        return MENTIONS if mentions(text.encode()) else None

    return match


def matched(make: Callable[[], Callable[..., Match | None]], *columns: SparkColumn) -> SparkColumn:
    """The result of a match for the columns: `names`, `mentions` or null; executors make it."""
    import pandas as pd  # noqa: PLC0415 - only an erasure needs it

    @pandas_udf("string")  # type: ignore[call-overload, untyped-decorator, unused-ignore]
    def user_match(values: pd.DataFrame) -> pd.Series:
        match, rows = make(), values.itertuples(index=False, name=None)
        return pd.Series([match(*row) for row in rows], dtype="object")

    return cast("SparkColumn", user_match(F.struct(*columns)))


def _names_user(paths: Sequence[Path], user: str) -> Callable[[Mapping[str, Any]], bool]:
    def names_user(record: Mapping[str, Any]) -> bool:
        return any(_at(record, path) == user for path in paths)

    return names_user


def _at(record: Any, path: Path) -> str | None:
    """The value at the path as text; None without one."""
    for name in path:
        record = record.get(name) if isinstance(record, Mapping) else None
    return None if record is None else str(record)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _cells(text: str, source: LakeSource) -> dict[str, str] | None:
    """The cells of a row by column; None if it does not have one cell per column."""
    options, names = source.format_options, list(source.in_rows)
    escape = None if options.escape == options.quote else options.escape
    lines = io.StringIO(text, newline="")
    try:
        rows = list(
            csv.reader(
                lines, delimiter=options.separator, quotechar=options.quote, escapechar=escape
            )
        )
    except (csv.Error, TypeError):  # TypeError: a separator of several characters
        rows = [text.split(options.separator)]
    if len(rows) != 1 or len(rows[0]) != len(names):
        return None
    return dict(zip(names, rows[0], strict=True))


def _torn_json(paths: Sequence[Path], user: str) -> Callable[[str], bool]:
    """Whether malformed JSON has the user as the value of a user field, quoted or not."""
    names = "|".join(re.escape(path[-1]) for path in paths)
    written = "|".join(re.escape(text) for text in _written(user))
    pattern = re.compile(rf"""["']?({names})["']?\s*[:=]\s*["']?({written})["']?\s*([,;&}}\]]|$)""")
    return lambda text: bool(paths and pattern.search(text))


def _mentions(user: str, length_factor: int | None = None) -> Callable[[bytes], bool]:
    """Whether a text has the id as a word; with a factor also after its length, as in Avro."""
    words, sized = _written(user), length_factor and _with_length(length_factor, user)

    def mentions(raw: bytes) -> bool:
        text = _text(raw)
        return bool(sized and sized in raw) or any(_has_word(text, word) for word in words)

    return mentions


def _has_word(text: str, word: str) -> bool:
    at = text.find(word)
    while at >= 0:
        before, after = text[at - 1 : at], text[at + len(word) : at + len(word) + 1]
        if not (_is_word(before) or _is_word(after)):
            return True
        at = text.find(word, at + 1)
    return False


def _is_word(text: str) -> bool:
    return text.isalnum() or text == "_"


def _text(raw: bytes | None) -> str:
    return (raw or b"").decode(errors="replace")


def _written(user: str) -> list[str]:
    """The user as JSON may write the id, with or without escapes."""
    escaped = (json.dumps(user, ensure_ascii=plain)[1:-1] for plain in (True, False))
    return sorted({user, *escaped})


def _with_length(factor: int, user: str) -> bytes:
    """The user as Avro and Protobuf write a text: after a multiple of its length."""
    raw = user.encode()
    left, head = len(raw) * factor, bytearray()
    while left > 0x7F:  # noqa: PLR2004 - seven bits per byte
        head.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes([*head, left]) + raw
