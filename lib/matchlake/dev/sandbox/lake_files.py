"""Writes the users and items of a data set as files of a lake folder."""

import csv
import io
import json
from pathlib import Path

import pandas as pd

from matchlake.dev.sandbox.movielens import MovieLens


def write_lake_files(dataset: MovieLens, folder: Path) -> list[Path]:
    """Writes `users.csv` and `items.jsonl` into `folder`; the same set gives the same bytes.

    `users.csv` has a header and user_id, age, gender, occupation, zip_code; a set without users
    has no such file. `items.jsonl` has one object per line: item_id, title, year (or null),
    genres. Files with that content are not touched. Returns all paths.
    """
    folder.mkdir(parents=True, exist_ok=True)
    users = dataset.read_users()
    written = [write_file(folder / "items.jsonl", _json_lines(dataset.read_items()))]
    if users is not None:
        written.append(write_file(folder / "users.csv", _csv(users)))
    return written


def _csv(frame: pd.DataFrame) -> str:
    text = io.StringIO()
    frame.to_csv(text, index=False, lineterminator="\n", quoting=csv.QUOTE_MINIMAL)
    return text.getvalue()


def _json_lines(frame: pd.DataFrame) -> str:
    rows = frame.to_dict("records")
    lines = (
        {name: None if value is pd.NA else value for name, value in row.items()} for row in rows
    )
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def write_file(path: Path, content: str | bytes) -> Path:
    """Writes `content`, unless the file already holds it: an unchanged file keeps its time."""
    data = content.encode() if isinstance(content, str) else content
    if path.is_file() and path.read_bytes() == data:
        return path
    # A reader must never see a partial file, and its pattern must not match the temporary name.
    staged = path.with_name(f".{path.name}.partial")
    staged.write_bytes(data)
    staged.replace(path)
    return path
