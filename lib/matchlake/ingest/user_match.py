"""SQL conditions that find a user in the text of quarantined records and rows."""

import json
import re

from matchlake.ingest.params import StreamParams
from matchlake.schemas import quote_text

KEY, VALUE = (f"make_valid_utf8(CAST(raw.{name} AS STRING))" for name in ("key", "value"))
ROW = "row_text"
"""The text of a quarantined row of a file."""


def matches_exactly(stream: StreamParams, column: str, user: str) -> str:
    """Whether the key of a message is the user, or the source field of `column` holds the user.

    False for all messages of a stream that does not declare the column.
    """
    declared = stream.columns.get(column)
    if declared is None:
        return "false"
    is_key = f"{KEY} = {quote_text(user)}"
    entry = stream.format_entry
    if entry.text_length_factor:
        text = _with_length(entry.text_length_factor, user)
        in_value = f"contains(raw.value, X'{text.hex()}')"
    elif entry.positional:
        in_value = _cell(VALUE, user)
    else:
        in_value = _field(VALUE, {column, (declared.path or column).rpartition(".")[2]}, user)
    return f"coalesce({is_key}, false) OR coalesce({in_value}, false)"


def row_matches_exactly(fields: set[str], user: str) -> str:
    """Whether a quarantined row of a file holds the user in one of the `fields`, or in any cell."""
    return f"coalesce({_field(ROW, fields, user)} OR {_cell(ROW, user)}, false)"


def matches_anywhere(user: str) -> str:
    """Whether a message holds the id of the user anywhere, as a word."""
    word = quote_text(rf"(^|[^\w])({_written(user)})([^\w]|$)")
    return " OR ".join(f"coalesce({text} RLIKE {word}, false)" for text in (KEY, VALUE))


def _field(text: str, fields: set[str], user: str) -> str:
    """Whether JSON, also malformed, has the user as the value of a field, quoted or not."""
    names = "|".join(re.escape(name) for name in sorted(fields))
    pattern = rf"""["']?({names})["']?\s*[:=]\s*["']?({_written(user)})["']?\s*([,;&}}\]]|$)"""
    return f"{text} RLIKE {quote_text(pattern)}"


def _written(user: str) -> str:
    """A pattern of the user in JSON, with or without escapes."""
    written = {user, *(json.dumps(user, ensure_ascii=plain)[1:-1] for plain in (True, False))}
    return "|".join(re.escape(text) for text in sorted(written))


def _cell(text: str, user: str) -> str:
    """Whether any cell of a row is the user; the cells of a malformed row have no known order."""
    pattern = rf"""(^|[,;|\t])\s*["']?{re.escape(user)}["']?\s*([,;|\t\r\n]|$)"""
    return f"{text} RLIKE {quote_text(pattern)}"


def _with_length(factor: int, user: str) -> bytes:
    """The user as Avro and Protobuf write a text: after a multiple of its length."""
    raw = user.encode()
    left, head = len(raw) * factor, bytearray()
    while left > 0x7F:  # noqa: PLR2004 - seven bits per byte
        head.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes([*head, left]) + raw
