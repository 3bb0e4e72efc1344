"""Reads MovieLens: the 100K set of the environment, and larger sets in a folder.

The files in the folder decide between three layouts:

    ml-100k   ml-100k.inter, .item, .user           tabs and a header, as in the recbole package
    dat       ratings.dat, movies.dat, (users.dat)  `::` between fields: ml-1m, ml-10m
    csv       ratings.csv, movies.csv               ml-latest, ml-20m, ml-25m, ml-32m

Every reader raises SourceError for a file that does not match its layout.
"""

import csv
import importlib.util
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.errors import ParserWarning

from matchlake.errors import SandboxError, SourceError

_TYPES = {
    "user_id": "str",
    "item_id": "str",
    "rating": "float64",
    "seconds": "int64",
    "age": "int64",
    "gender": "str",
    "occupation": "str",
    "zip_code": "str",
    "title": "str",
    "year": "str",
    "genres": "str",
}
_USER_COLUMNS = ["user_id", "age", "gender", "occupation", "zip_code"]
_TITLE_AND_YEAR = r"^(?P<title>.*\S)\s*\((?P<year>\d{4})\)\s*$"
_LISTED = 12
_NO_GENRE = {"", "unknown", "(no genres listed)"}
# The occupations of ml-1m by their code, from 0 on; other sets name them.
# fmt: off
_OCCUPATIONS = (
    "other", "educator", "artist", "clerical", "college student", "customer service", "doctor",
    "executive", "farmer", "homemaker", "school student", "lawyer", "programmer", "retired",
    "sales", "scientist", "self-employed", "engineer", "tradesman", "unemployed", "writer",
)
# fmt: on


@dataclass(frozen=True)
class _Table:
    file: str
    columns: tuple[str, ...]
    header: str | None = None
    """The first line of the file; None if the file begins with data."""


@dataclass(frozen=True)
class _Layout:
    separator: str
    genre_separator: str
    ratings: _Table
    items: _Table
    users: _Table | None = None


_RATINGS = ("user_id", "item_id", "rating", "seconds")
_LAYOUTS = {
    "ml-100k": _Layout(
        "\t",
        " ",
        _Table(
            "ml-100k.inter", _RATINGS, "user_id:token\titem_id:token\trating:float\ttimestamp:float"
        ),
        _Table(
            "ml-100k.item",
            ("item_id", "title", "year", "genres"),
            "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq",
        ),
        _Table(
            "ml-100k.user",
            ("user_id", "age", "gender", "occupation", "zip_code"),
            "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token",
        ),
    ),
    "dat": _Layout(
        "::",
        "|",
        _Table("ratings.dat", _RATINGS),
        _Table("movies.dat", ("item_id", "title", "genres")),
        _Table("users.dat", ("user_id", "gender", "age", "occupation", "zip_code")),
    ),
    "csv": _Layout(
        ",",
        "|",
        _Table("ratings.csv", _RATINGS, "userId,movieId,rating,timestamp"),
        _Table("movies.csv", ("item_id", "title", "genres"), "movieId,title,genres"),
    ),
}


@dataclass(frozen=True)
class MovieLens:
    """A folder with one of the layouts; nothing is read before a method is called."""

    folder: Path
    layout: str

    def read_ratings(self) -> pd.DataFrame:
        """All ratings in the order of the file.

        Columns: user_id str, item_id str, rating float64 (stars), event_time datetime64[us, UTC].
        """
        return pd.concat(self.iterate_ratings(rows=5_000_000), ignore_index=True)

    def iterate_ratings(self, rows: int = 1_000_000) -> Iterator[pd.DataFrame]:
        """The ratings as `read_ratings` gives them, in frames of at most `rows` rows."""
        table = _LAYOUTS[self.layout].ratings
        for frame in self._read(table, rows):
            with _as_source_error(self.folder / table.file):
                times = pd.to_datetime(frame.pop("seconds"), unit="s", utc=True)
            yield frame.assign(event_time=times.astype("datetime64[us, UTC]"))

    def read_users(self) -> pd.DataFrame | None:
        """The users; None for a set without them.

        Columns: user_id str, age int64 (years; ml-1m gives the lower end of an age group),
        gender str (M or F), occupation str, zip_code str.
        """
        table = _LAYOUTS[self.layout].users
        if table is None or not (self.folder / table.file).is_file():
            return None
        users = pd.concat(self._read(table))[_USER_COLUMNS]
        names = {str(code): name for code, name in enumerate(_OCCUPATIONS)}
        return users.assign(occupation=[names.get(name, name) for name in users["occupation"]])

    def read_items(self) -> pd.DataFrame:
        """The films.

        Columns: item_id str, title str (without its year), year Int64 (null where unknown),
        genres list of str (empty where unknown).
        """
        layout = _LAYOUTS[self.layout]
        items = pd.concat(self._read(layout.items))
        parts = items["title"].str.extract(_TITLE_AND_YEAR)
        year = parts["year"] if "year" not in items else parts["year"].fillna(items["year"])
        genres = [
            [genre for genre in listed.split(layout.genre_separator) if genre not in _NO_GENRE]
            for listed in items["genres"]
        ]
        return pd.DataFrame(
            {
                "item_id": items["item_id"],
                "title": parts["title"].fillna(items["title"]),
                "year": pd.to_numeric(year, errors="coerce").astype("Int64"),
                "genres": genres,
            }
        )

    def _read(self, table: _Table, rows: int = 1_000_000) -> Iterator[pd.DataFrame]:
        path = self.folder / table.file
        with _as_source_error(path):
            options = _csv_options(path, table, _LAYOUTS[self.layout].separator)
            frames = pd.read_csv(path, chunksize=rows, **options)
        with frames:
            # No `for` loop, so that errors of the caller are not reported as errors of the file.
            while (frame := _next(frames, path, table)) is not None:
                yield frame


def open_movielens(folder: Path) -> MovieLens:
    """The set in `folder`; raises SourceError, with the files found, if there is none."""
    for name, layout in _LAYOUTS.items():
        if (folder / layout.ratings.file).is_file() and (folder / layout.items.file).is_file():
            return MovieLens(folder, name)
    if not folder.is_dir():
        raise SourceError(
            f"{folder} is not a folder: name the folder of an extracted MovieLens set."
        )
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
    listed = names if len(names) <= _LISTED else [*names[:_LISTED], f"{len(names)} files in all"]
    expected = [f"{one.ratings.file} with {one.items.file}" for one in _LAYOUTS.values()]
    raise SourceError(
        f"{folder} is not a MovieLens set: it holds {', '.join(listed) or 'nothing'}; "
        f"expected {', or '.join(expected)}."
    )


def bundled_movielens() -> MovieLens:
    """MovieLens-100K from the files of the recbole package, which is not imported."""
    spec = importlib.util.find_spec("recbole")
    if spec is None or spec.origin is None:
        raise SandboxError(
            "MovieLens-100K is not in this environment: `make install` brings it "
            "(as `pip install --no-deps recbole==1.2.1` does), or name a folder of your own."
        )
    return open_movielens(Path(spec.origin).parent / "dataset_example" / "ml-100k")


def _next(frames: Iterator[pd.DataFrame], path: Path, table: _Table) -> pd.DataFrame | None:
    with _as_source_error(path):
        frame = next(frames, None)
        if frame is None:
            return None
        short = frame.index[frame.isna().any(axis=1)]
        if len(short):
            line = int(short[0]) + (1 if table.header is None else 2)
            raise ValueError(f"line {line} does not hold all of {', '.join(table.columns)}")
        return frame.reset_index(drop=True)


@contextmanager
def _as_source_error(path: Path) -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            # pandas only warns of lines with too many fields.
            warnings.simplefilter("error", ParserWarning)
            yield
    except (OSError, ValueError, ParserWarning) as error:
        # Parser and date errors of pandas are ValueErrors.
        raise SourceError(f"{path} cannot be read as MovieLens: {error}") from error


def _csv_options(path: Path, table: _Table, separator: str) -> dict[str, Any]:
    options: dict[str, Any] = {
        "names": table.columns,
        "dtype": {name: _TYPES[name] for name in table.columns},
        "sep": separator,
        "quoting": csv.QUOTE_MINIMAL if separator == "," else csv.QUOTE_NONE,
        "keep_default_na": False,
        "na_values": [""],
        "index_col": False,
        "encoding": "utf-8-sig",
    }
    if "title" in table.columns:
        options["encoding"] = _encoding(path)
    if table.header is not None:
        with path.open(encoding=options["encoding"]) as lines:
            first = lines.readline().rstrip("\r\n")
        if first != table.header:
            raise ValueError(f"its first line is {first!r}, expected {table.header!r}")
        options["header"] = 0
    if separator == "::" and "title" in table.columns:
        options["engine"] = "python"
    elif separator == "::":
        # Reads `::` with the separator `:`, which is many times faster, and drops the empty fields.
        options |= {"sep": ":", "usecols": range(0, 2 * len(table.columns), 2)}
    return options


def _encoding(path: Path) -> str:
    # ml-1m is Latin-1, all others UTF-8.
    try:
        path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8-sig"
