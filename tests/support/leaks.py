"""Looks for planted values in every file below folders, whatever form and container they are in.

A value is looked for as it is and in the forms a program may write it: base64 at each of its three
places, URL-encoded, JSON-escaped, also JSON within JSON; in files, and in their names. Containers
are opened, those in others too: gzip and zstd (also one stream after the other, also cut off), zip,
Parquet (each column's values, statistics and key-value metadata), sqlite (each cell). One that
cannot be read to its end is told of: nothing was found there because nobody could look.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from matchlake.io.secrets.masking import written_forms
from matchlake.lakehouse.containers import Opened, layers


@dataclass
class Scan:
    """What was looked at, and where which planted value was found."""

    files: int = 0
    size: int = 0
    opened: dict[str, int] = field(default_factory=dict)
    found: dict[str, set[str]] = field(default_factory=dict)
    unread: set[str] = field(default_factory=set)
    """Files with a container that could not be read to its end."""

    def closing_line(self, planted: Mapping[str, str]) -> str:
        """The scan in one line."""
        opened = [f"{count} {kind}" for kind, count in sorted(self.opened.items())]
        found = sum(len(self.found.get(name, ())) for name in planted)
        return (
            f"leak scan: {self.files} files, {self.size:,} bytes "
            f"({', '.join(opened) or 'no container'} opened, {len(self.unread)} not to their end), "
            f"{len(planted)} planted values, {found} found"
        )


def scan(folders: Iterable[Path], planted: Mapping[str, str], skip: Iterable[Path] = ()) -> Scan:
    """Searches all files below `folders`, but those in `skip`, for the values of `planted`."""
    result = Scan()
    needles = [(name, form.encode()) for name in planted for form in _forms(planted[name])]
    left_out = {path.resolve() for path in skip}
    for path in sorted({path for folder in folders for path in folder.rglob("*")}):
        if path.is_symlink() or not path.is_file() or path.resolve() in left_out:
            continue
        raw = path.read_bytes()
        result.files += 1
        result.size += len(raw)
        opened = Opened(result.opened)
        for text in (str(path).encode(), *layers(raw, opened)):
            for name, needle in needles:
                if needle in text:
                    result.found.setdefault(name, set()).add(str(path))
        if not opened.is_whole:
            result.unread.add(str(path))
    return result


def _forms(value: str) -> set[str]:
    """How a value may be written; JSON in JSON escapes its escapes."""
    return {*written_forms(value), json.dumps(json.dumps(value)[1:-1])[1:-1]}
