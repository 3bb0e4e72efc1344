"""The items that each user had in the fit; a served model does not recommend them again.

A saved model has no interactions, so a job writes them into its folder. They are row numbers of the
model's users and items: two or three bytes per interaction, without ids.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from matchlake.engine.arrow import combined
from matchlake.engine.csr import Csr, Ints, csr_from_pairs
from matchlake.engine.packing import pack, unpack
from matchlake.model_store.manifest import Side, read_manifest
from matchlake.model_store.numpy import read_side
from matchlake.recommender.interaction_stats import VALUE
from matchlake.recommender.packed_interactions import PACKED_SCHEMA, Pack, unpack_pairs
from matchlake.schemas import ITEM_ID, USER_ID

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_log = logging.getLogger(__name__)

_FILE = "seen_items.bin"
_MOST = 100_000_000
"""The maximum number of interactions that the driver collects."""


def save_seen_items(interactions: "DataFrame", folder: Path) -> None:
    """Writes the pairs of `interactions` into the folder of a saved model; one Spark job.

    If they are too many for the driver, it logs a warning and writes nothing.
    """
    users = read_side(folder, read_manifest(folder), "user")
    count = pc.sum(users["n_interactions"]).as_py() or 0
    if count > _MOST:
        _log.warning(
            "the served model does not know the items that users had in the fit: %d interactions "
            "are more than %d. Send exclude_seen with a request.",
            *(count, _MOST),
        )
        return
    pairs = interactions.selectExpr(USER_ID, ITEM_ID, f"CAST(1 AS FLOAT) AS {VALUE}")
    known = pairs.where(f"{USER_ID} IS NOT NULL AND {ITEM_ID} IS NOT NULL")
    packed = known.mapInArrow(Pack(nonnegative=False), PACKED_SCHEMA).select("data")
    write_seen_items(packed.toArrow()["data"], folder)


def write_seen_items(data: pa.ChunkedArray, folder: Path) -> None:
    """Writes the pairs of a `Pack` into the folder of a saved model."""
    manifest = read_manifest(folder)
    ids = {name: combined(read_side(folder, manifest, side)[name]) for name, side in _SIDES.items()}
    table = unpack_pairs(data) if len(data) else None
    (folder / _FILE).write_bytes(pack(_rows(table, ids).narrowed()))


def load_seen_items(folder: Path) -> Csr | None:
    """Loads the items of each user, by the model's row numbers; None if they were not saved."""
    path = folder / _FILE
    if not path.is_file():
        return None
    return Csr.widened(unpack([path.read_bytes()]))


_SIDES: dict[str, Side] = {USER_ID: "user", ITEM_ID: "item"}


def _rows(known: pa.Table | None, ids: dict[str, pa.Array]) -> Csr:
    shape = len(ids[USER_ID]), len(ids[ITEM_ID])
    if known is None:
        none = np.zeros(0, np.int32)
        return csr_from_pairs(none, none, np.zeros(0, np.float32), shape)
    users, items = (_places(known[name].combine_chunks(), ids[name]) for name in _SIDES)
    both = (users >= 0) & (items >= 0)
    pairs = np.unique(users[both] * shape[1] + items[both])
    rows, columns = (pairs // shape[1]).astype(np.int32), (pairs % shape[1]).astype(np.int32)
    return csr_from_pairs(rows, columns, np.ones(len(pairs), np.float32), shape)


def _places(column: pa.DictionaryArray, ids: pa.Array) -> Ints:
    """Returns the model's row of each id; -1 for unknown ids."""
    known = pc.fill_null(pc.index_in(column.dictionary.cast(ids.type), ids), -1)
    places: Ints = np.asarray(known).astype(np.int64)[np.asarray(column.indices)]
    return places
