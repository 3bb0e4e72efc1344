"""Finds the users that a quarantined row of a lake file names, or one given user."""

import csv
import io
from collections.abc import Callable, Mapping

from matchlake.ingest.files.params import LakeSource
from matchlake.ingest.parse.paths import path_of
from matchlake.ingest.parse.user_match import (
    MENTIONS,
    NAMES,
    Match,
    Path,
    json_of,
    mentions_user,
    names_user,
    torn_names,
    torn_users,
    users_of,
)


def row_match(source: LakeSource, user: str) -> Callable[[str | None], Match | None]:
    """Returns a function: whether the text of a quarantined row names or mentions the user."""
    paths = _row_paths(source)
    is_named = names_user(paths, user)
    mentions = mentions_user(user)
    torn = torn_names(paths, user) if source.format == "json" else None

    def match(text: str | None) -> Match | None:
        if not text:
            return None
        record = _cells(text, source) if source.format == "csv" else json_of(text)
        if isinstance(record, Mapping):
            if is_named(record):
                return NAMES
        elif torn and torn(text):
            return NAMES
        return MENTIONS if mentions(text.encode()) else None

    return match


def row_users(source: LakeSource) -> Callable[[str | None], list[str]]:
    """Returns a function: the users that the text of a quarantined row names."""
    paths, is_json = _row_paths(source), source.format == "json"
    torn = torn_users(paths) if is_json else None

    def users(text: str | None) -> list[str]:
        record = json_of(text or "") if source.format != "csv" else _cells(text or "", source)
        if isinstance(record, Mapping):
            return users_of(record, paths)
        return torn(text or "") if torn else []

    return users


def _row_paths(source: LakeSource) -> list[Path]:
    """The paths of the user columns in a row of the source."""
    persons = [name for name in source.persons if name in source.in_rows]
    by_path = source.format == "json"
    return [path_of(name, source.columns[name]) if by_path else (name,) for name in persons]


def _cells(text: str, source: LakeSource) -> dict[str, str] | None:
    """The values of a row by column; None if the row does not have one value per column."""
    options, names = source.format_options, list(source.in_rows)
    escape = None if options.escape == options.quote else options.escape
    lines = io.StringIO(text, newline="")
    try:
        rows = list(
            csv.reader(
                lines, delimiter=options.separator, quotechar=options.quote, escapechar=escape
            )
        )
    except (csv.Error, TypeError):  # csv raises TypeError for a separator of several characters
        rows = [text.split(options.separator)]
    if len(rows) != 1 or len(rows[0]) != len(names):
        return None
    return dict(zip(names, rows[0], strict=True))
