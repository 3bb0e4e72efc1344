"""Scans SQL text: the ends of statements, the keywords that write, the names of tables."""

import re
from collections.abc import Iterator
from itertools import pairwise

# Quoted text and comments come first, so their content is never code. An unclosed one reaches to
# the end, so that a prompt waits for more lines. As in Spark, bracketed comments nest, a hint
# `/*+ ... */` is no comment, and a backslash continues a line comment on the next line.
_PIECES = re.compile(
    r"""
      (?P<text>[rR]"[^"]*(?:"|\Z) | [rR]'[^']*(?:'|\Z)
             | "(?:[^"\\]|\\.)*(?:"|\\?\Z) | '(?:[^'\\]|\\.)*(?:'|\\?\Z))
    | (?P<name>`(?:[^`]|``)*(?:`|\Z))
    | (?P<comment>--(?:\\\n|[^\r\n])*)
    | (?P<bracket>/\*(?!\+))
    | (?P<end>;)
    | (?P<code>\w+ | .)
    """,
    re.DOTALL | re.VERBOSE,
)
_BRACKETS = re.compile(r"/\*(?!\+)|\*/")
_PART = r"(?:`[^`]+`|\w+)"
_DOTTED = re.compile(rf"{_PART}(?:\s*\.\s*{_PART})+")

_WRITING = re.compile(r"\b(INSERT|UPDATE|DELETE|MERGE|OVERWRITE)\b", re.IGNORECASE)

NOTHING = "There is nothing to run: the text is empty, or only a comment."

READING_WORDS = ("SELECT", "WITH", "FROM", "VALUES", "TABLE", "SHOW", "DESCRIBE", "DESC", "EXPLAIN")


def split_statements(sql: str) -> tuple[list[str], str]:
    """The statements of `sql` that a semicolon ends, and the rest after the last semicolon.

    Semicolons in quotes, names and comments do not count. Statements without code (blank or only
    comments) are left out; the rest is empty if it has no code.
    """
    ends = [end for kind, _, end in _pieces(sql) if kind == "end"]
    starts = [0, *ends]
    statements = [sql[start : end - 1].strip() for start, end in zip(starts, ends, strict=False)]
    rest = sql[starts[-1] :]
    return [each for each in statements if has_code(each)], rest if has_code(rest) else ""


def script_statements(text: str) -> list[str]:
    """All statements of a file or a pipe; words after a backslash end with their line."""
    found, waiting = [], ""
    for line in text.splitlines(keepends=True):
        waiting += line
        if "\\" not in line:
            continue
        statements, rest = split_statements(waiting)
        if rest.lstrip().startswith("\\"):
            found += [*statements, rest.strip()]
            waiting = ""
    statements, rest = split_statements(waiting)
    return [*found, *statements, *([rest] if rest else [])]


def has_code(sql: str) -> bool:
    """Whether `sql` holds more than blanks and comments."""
    return bool(_code(sql).strip())


def first_word(sql: str) -> str:
    """The first word in upper case, after comments, blanks and opening brackets."""
    word = re.match(r"[\s(]*(\w*)", _code(sql))
    return word.group(1).upper() if word else ""


def mentioned_words(sql: str) -> set[str]:
    """Every single name that the code mentions, in lower case: columns and functions, too."""
    return {word.strip("`").lower() for word in re.findall(_PART, _code(sql))}


def mentions_writing(sql: str) -> bool:
    """Whether the code has a word that writes, even as the name of a column."""
    return _WRITING.search(_code(sql)) is not None


def mentioned_names(sql: str) -> Iterator[str]:
    """Every `a.b` that the code mentions, in lower case; of `a.b.c` both `a.b` and `b.c`.

    Some are columns of an alias: the caller keeps those that are tables or views.
    """
    for dotted in _DOTTED.finditer(_code(sql)):
        parts = [part.strip("`").lower() for part in re.findall(_PART, dotted.group())]
        for left, right in pairwise(parts):
            yield f"{left}.{right}"


def _code(sql: str) -> str:
    """`sql` with its quoted text and comments blanked out."""
    return "".join(
        sql[start:end] if kind in ("name", "code", "end") else " "
        for kind, start, end in _pieces(sql)
    )


def _pieces(sql: str) -> Iterator[tuple[str, int, int]]:
    """Kind, start and end of each piece of `sql`, in order."""
    at = 0
    while match := _PIECES.match(sql, at):
        kind = str(match.lastgroup)
        end = _closed(sql, at) if kind == "bracket" else match.end()
        yield kind, at, end
        at = end


def _closed(sql: str, start: int) -> int:
    """The end of the bracketed comment at `start`, with nested comments."""
    depth = 0
    for bracket in _BRACKETS.finditer(sql, start):
        depth += 1 if bracket.group() == "/*" else -1
        if not depth:
            return bracket.end()
    return len(sql)
