"""Finds users in the bytes of quarantined records and rows, whose declared columns are null.

A record that can be read names the user if one of its user columns holds the id. A record that
cannot be read, or that holds the id elsewhere, only mentions the user: `42` may be an age.

The functions run in Python on executors, so that no plan and no history shows the id. Their
time grows linearly with the length of a text.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast

from pyspark.sql import Column as SparkColumn
from pyspark.sql import functions as F
from pyspark.sql.functions import pandas_udf  # type: ignore[attr-defined, unused-ignore]

Match = Literal["names", "mentions"]
Path = Sequence[str]

NAMES: Match = "names"
MENTIONS: Match = "mentions"


def matched(make: Callable[[], Callable[..., Match | None]], *columns: SparkColumn) -> SparkColumn:
    """The result of a match for the columns: `names`, `mentions` or null; executors make it."""
    import pandas as pd  # noqa: PLC0415 - only an erasure needs it

    @pandas_udf("string")  # type: ignore[call-overload, untyped-decorator, unused-ignore]
    def user_match(values: pd.DataFrame) -> pd.Series:
        match, rows = make(), values.itertuples(index=False, name=None)
        return pd.Series([match(*row) for row in rows], dtype="object")

    return cast("SparkColumn", user_match(F.struct(*columns)))


def users_of(record: Mapping[str, Any], paths: Sequence[Path]) -> list[str]:
    """The values at the paths, as text."""
    return [user for path in paths if (user := _at(record, path)) is not None]


def names_user(paths: Sequence[Path], user: str) -> Callable[[Mapping[str, Any]], bool]:
    """The function that decides whether a decoded record has the user at one of the paths."""
    return lambda record: user in users_of(record, paths)


def _at(record: Any, path: Path) -> str | None:
    """The value at the path as text; None if there is no value."""
    for name in path:
        record = record.get(name) if isinstance(record, Mapping) else None
    return None if record is None else str(record)


def json_of(text: str) -> Any:
    """The value of a JSON text; None if it is malformed."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def torn_names(paths: Sequence[Path], user: str) -> Callable[[str], bool]:
    """Whether malformed JSON has the user as the value of a user field, quoted or not."""
    written = "|".join(re.escape(text) for text in _written(user))
    pattern = re.compile(rf"""{_field(paths)}["']?({written})["']?\s*([,;&}}\]]|$)""")
    return lambda text: bool(paths and pattern.search(text))


def torn_users(paths: Sequence[Path]) -> Callable[[str], list[str]]:
    """The values of user fields in malformed JSON, quoted or not."""
    quoted = r""""((?:[^"\\]|\\.)*)|'([^']*)|([^\s"',;&}\]]+)"""
    pattern = re.compile(rf"{_field(paths)}(?:{quoted})")

    def users(text: str) -> list[str]:
        found = pattern.finditer(text) if paths else ()
        return [_unescaped(next(filter(None, each.groups()[1:]), "")) for each in found]

    return users


def _unescaped(text: str) -> str:
    """A text of JSON without its escapes."""
    try:
        return str(json.loads(f'"{text}"'))
    except ValueError:
        return text


def _field(paths: Sequence[Path]) -> str:
    """The pattern of the name of a user field, quoted or not, up to its value."""
    names = "|".join(re.escape(path[-1]) for path in paths)
    return rf"""["']?({names})["']?\s*[:=]\s*"""


def mentions_user(user: str, length_factor: int | None = None) -> Callable[[bytes], bool]:
    """Whether a text has the id as a word; with a factor also after its length, as in Avro."""
    words, sized = _written(user), length_factor and _with_length(length_factor, user)

    def mentions(raw: bytes) -> bool:
        text = text_of(raw)
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


def text_of(raw: bytes | None) -> str:
    """The bytes as text, with a replacement for what is not UTF-8."""
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
