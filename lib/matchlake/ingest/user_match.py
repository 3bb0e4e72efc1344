"""SQL of which records that could not be read are a user's, by what their text says."""

import json
import re

from matchlake.ingest.params import StreamParams
from matchlake.schemas import quote_text

KEY, VALUE = (f"make_valid_utf8(CAST(raw.{name} AS STRING))" for name in ("key", "value"))
ROW = "row_text"
"""The text of a refused row of a file."""


def names_user(stream: StreamParams, column: str, user: str) -> str:
    """Whether a message's key is the user, or its value has him where `column` is read from.

    Of a stream that does not declare the column no message is a user's.
    """
    declared = stream.columns.get(column)
    if declared is None:
        return "false"
    is_key = f"{KEY} = {quote_text(user)}"
    if stream.format in ("json", "csv"):
        fields = {column, (declared.path or column).rpartition(".")[2]}
        said = _field(VALUE, fields, user) if stream.format == "json" else _cell(VALUE, user)
    else:
        said = f"contains(raw.value, X'{_with_length(stream.format, user).hex()}')"
    return f"coalesce({is_key}, false) OR coalesce({said}, false)"


def row_names_user(fields: set[str], user: str) -> str:
    """Whether a refused row of a file has the user in one of the `fields`, or in any cell."""
    return f"coalesce({_field(ROW, fields, user)} OR {_cell(ROW, user)}, false)"


def mentions_user(user: str) -> str:
    """Whether a message holds the user's id anywhere, as a word."""
    word = quote_text(rf"(^|[^\w])({_written(user)})([^\w]|$)")
    return " OR ".join(f"coalesce({text} RLIKE {word}, false)" for text in (KEY, VALUE))


def _field(text: str, fields: set[str], user: str) -> str:
    """Whether torn JSON has the user as the value of a field, quoted or not."""
    names = "|".join(re.escape(name) for name in sorted(fields))
    pattern = rf"""["']?({names})["']?\s*[:=]\s*["']?({_written(user)})["']?\s*([,;&}}\]]|$)"""
    return f"{text} RLIKE {quote_text(pattern)}"


def _written(user: str) -> str:
    """A pattern of the user as JSON writes him, with or without escapes."""
    written = {user, *(json.dumps(user, ensure_ascii=plain)[1:-1] for plain in (True, False))}
    return "|".join(re.escape(text) for text in sorted(written))


def _cell(text: str, user: str) -> str:
    """Whether a row has a cell with just the user; torn rows have lost count of theirs."""
    pattern = rf"""(^|[,;|\t])\s*["']?{re.escape(user)}["']?\s*([,;|\t\r\n]|$)"""
    return f"{text} RLIKE {quote_text(pattern)}"


def _with_length(kind: str, user: str) -> bytes:
    """The user as Avro and Protobuf write a text: after its length, which Avro doubles."""
    raw = user.encode()
    left, head = len(raw) * (1 if kind == "protobuf" else 2), bytearray()
    while left > 0x7F:  # noqa: PLR2004 - seven bits a byte
        head.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes([*head, left]) + raw
