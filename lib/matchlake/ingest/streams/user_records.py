"""Finds the users that a quarantined record of a stream names, or one given user."""

from collections.abc import Callable, Mapping
from typing import Any

from matchlake.errors import MatchlakeError
from matchlake.ingest.params import StreamParams
from matchlake.ingest.parse.changes import ENVELOPE_PATHS
from matchlake.ingest.parse.paths import path_of
from matchlake.ingest.parse.readers import make_decoder
from matchlake.ingest.parse.user_match import (
    MENTIONS,
    NAMES,
    Match,
    Path,
    mentions_user,
    names_user,
    text_of,
    torn_names,
    torn_users,
    users_of,
)
from matchlake.ingest.rejections import ErrorCode

_UNDECODED = (ErrorCode.VALUE_TOO_LARGE, ErrorCode.KILLS_READER)


def record_match(stream: StreamParams, user: str) -> Callable[..., Match | None]:
    """The function that matches the key, the value and the error code of a record of the stream.

    A key that is the id names the user too, if the stream has a user column. A value that was not
    decoded, as its error code says, is not decoded here.
    """
    read, paths = _record_reader(stream), _record_paths(stream)
    is_named = names_user(paths, user)
    mentions = mentions_user(user, stream.format_entry.text_length_factor)
    torn = torn_names(paths, user) if stream.format == "json" else None

    def match(key: bytes | None, value: bytes | None, code: str | None = None) -> Match | None:
        if paths and key == user.encode():
            return NAMES
        record = read(value, code)
        if isinstance(record, Mapping):
            if is_named(record):
                return NAMES
        elif torn and torn(text_of(value)):
            return NAMES
        return MENTIONS if any(each and mentions(each) for each in (key, value)) else None

    return match


def record_users(stream: StreamParams) -> Callable[..., list[str]]:
    """The function that gives the users whom a record names, from its key, value and error code."""
    read, paths = _record_reader(stream), _record_paths(stream)
    torn = torn_users(paths) if stream.format == "json" else None

    def users(key: bytes | None, value: bytes | None, code: str | None = None) -> list[str]:
        record = read(value, code)
        named = [text_of(key)] if paths and key else []
        if isinstance(record, Mapping):
            return [*named, *users_of(record, paths)]
        return [*named, *(torn(text_of(value)) if torn else [])]

    return users


def _record_paths(stream: StreamParams) -> list[Path]:
    """The paths of the user columns in a record of the stream."""
    by_name = stream.format_entry.positional
    paths: list[Path] = [
        (name,) if by_name else path_of(name, stream.columns[name]) for name in stream.persons
    ]
    if stream.change_data == "debezium":
        return [(*above, *path) for above in ENVELOPE_PATHS for path in paths]
    return paths


def _record_reader(stream: StreamParams) -> Callable[[bytes | None, str | None], Any]:
    """Returns a function: it decodes a value with an error code, or gives None if that fails."""
    decode = make_decoder(stream.format, stream.format_options, stream.columns, stream.limits)

    def read(value: bytes | None, code: str | None) -> Any:
        try:
            return decode(value) if value and code not in _UNDECODED else None
        except MatchlakeError:  # for example, the schema registry does not answer
            return None

    return read
