"""Masks resolved secrets in the log, in case another guard fails."""

import base64
import json
import logging
import sys
import threading
import traceback
from collections.abc import Mapping
from types import TracebackType
from urllib.parse import quote, quote_plus

MASK = "[secret]"
# Shorter values are not masked: masks would hide parts of every line, and protect nothing.
_SHORTEST = 6
_forms: tuple[str, ...] = ()
_lock = threading.Lock()


def remember(value: str) -> None:
    """Masks `value` from now on, also as base64, in URLs and in JSON."""
    global _forms  # noqa: PLW0603 - replaced as a whole, because other threads log
    if len(value) < _SHORTEST:
        return
    with _lock:
        known = {*_forms, *written_forms(value)}
        # Longest form first: a short form inside a long one would leave a part of the long one.
        _forms = tuple(sorted(known, key=len, reverse=True))


def written_forms(value: str) -> set[str]:
    """The forms of `value` in a text: plain, base64, URL-encoded, JSON-escaped."""
    raw = value.encode()
    escaped = {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    coded = {quote(value), quote(value, safe=""), quote_plus(value), repr(value)[1:-1]}
    return {value, *escaped, *coded, *_base64_forms(raw)}


def _base64_forms(raw: bytes) -> set[str]:
    """The middle of `raw` in base64, for each of its three alignments in a longer text."""
    forms = set()
    for before in range(3):
        padded = b"\0" * before + raw
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            text = encode(padded).decode().rstrip("=")
            # The first characters depend on the bytes before, the last ones on the bytes after.
            first = (before * 8 + 5) // 6
            last = len(padded) * 8 // 6
            forms.add(text[first:last])
    return {form for form in forms if len(form) >= _SHORTEST}


def masked(text: str) -> str:
    """`text` with every resolved value masked."""
    for form in _forms:
        text = text.replace(form, MASK)
    return text


class MaskingFilter(logging.Filter):
    """Masks known values in messages, arguments and tracebacks of every record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Passes every record, masked."""
        if _forms:
            try:
                record.msg, record.args = masked(record.getMessage()), None
            except Exception:  # noqa: BLE001 - the handler fails too, and reports it
                record.msg, record.args = _shown(record.msg), _shown_each(record.args)
            if record.exc_info and record.exc_info[0]:
                kind, error, trace = record.exc_info
                text = record.exc_text or "".join(traceback.format_exception(kind, error, trace))
                record.exc_text = masked(text).rstrip()
                # Another formatter, such as Spark's JSON, reads the exception again.
                record.exc_info = (kind, Exception(masked(str(error))), trace)
        return True


def _shown_each(arguments: object) -> dict[str, object] | tuple[object, ...]:
    """The masked arguments, if they do not fit the message's placeholders."""
    if isinstance(arguments, Mapping):
        return {name: _shown(each) for name, each in arguments.items()}
    return tuple(_shown(each) for each in arguments) if isinstance(arguments, tuple) else ()


def _shown(value: object) -> str:
    try:
        return masked(value if isinstance(value, str) else repr(value))
    except Exception:  # noqa: BLE001 - an object without a working repr
        return f"<{type(value).__name__}>"


def mask_log() -> None:
    """Masks known values in the root logger's handlers and in the traceback at exit."""
    for handler in logging.getLogger().handlers:
        if not any(isinstance(each, MaskingFilter) for each in handler.filters):
            handler.addFilter(MaskingFilter())
    sys.excepthook = _masked_traceback


def _masked_traceback(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    sys.stderr.write(masked("".join(traceback.format_exception(kind, error, trace))))
