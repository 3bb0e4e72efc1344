"""`fit_matchbox` without Spark: runs the single-task fit on tables in memory."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from matchlake.engine.arrow import combined, matrix_lists
from matchlake.engine.frames import to_arrow_table
from matchlake.errors import InputError, SchemaError
from matchlake.recommender.interaction_spec import InteractionSpec
from matchlake.recommender.interaction_stats import SHOWN, VALUE
from matchlake.recommender.matchbox.convergence import measure_convergence, note_convergence
from matchlake.recommender.matchbox.encoders import (
    Encoders,
    FittedEncoders,
    encode_table,
    fit_table_encoder,
    sources_of,
)
from matchlake.recommender.matchbox.numpy_model import ENCODERS, NumpyMatchboxModel, load_numpy
from matchlake.recommender.matchbox.numpy_model import REPORT as REPORT_FILE
from matchlake.recommender.matchbox.params import MatchboxParams
from matchlake.recommender.matchbox.single_task import (
    DATE,
    KIND,
    RATING_KIND,
    VECTOR,
    Task,
    undated,
)
from matchlake.recommender.matchbox.single_task_output import PROBLEM, REPORT
from matchlake.recommender.parts import matrix_of
from matchlake.recommender.protocol import ModelParts
from matchlake.recommender.sides import ITEM, KEYS, USER
from matchlake.recommender.table_interactions import pack_table
from matchlake.recommender.tables import (
    OLDEST,
    id_column,
    numbers,
    read_interactions,
    require_names,
    times,
)
from matchlake.schemas import EVENT_TIME, ITEM_ID, RATING, USER_ID

_WHAT = "the ratings"
_DAY = 86_400_000_000
"""Microseconds of a day."""


def fit_table(
    ratings: Any,
    features: tuple[Any, Any],
    params: MatchboxParams,
    encoders: Encoders | None,
) -> NumpyMatchboxModel:
    """Implements `fit_matchbox` on tables, or on a sparse matrix."""
    prepared = _prepare(ratings, params)
    pack_table(prepared.select([USER_ID, ITEM_ID, VALUE]), InteractionSpec())
    size = prepared.num_rows
    rows = [prepared.append_column(KIND, pa.array(np.full(size, RATING_KIND, np.int32)))]
    fitted: list[Any] = []
    for side, given in enumerate(features):
        if given is None:
            fitted.append(None)
            continue
        table, encoder = _encoded(given, side, encoders, prepared.schema.field(KEYS[side]).type)
        rows.append(table)
        fitted.append(encoder)
    whole = FittedEncoders(*fitted)
    table = pa.concat_tables(rows, promote_options="default")
    if VECTOR not in table.column_names:
        table = table.append_column(VECTOR, pa.nulls(size, pa.list_(pa.float32())))
    task = Task(params, sources_of(whole))
    return _model(pa.Table.from_batches(list(task(iter(table.to_batches())))), params, whole)


def _prepare(ratings: Any, params: MatchboxParams) -> pa.Table:
    """`user_id`, `item_id`, `value` (float) and `day`, days since 1970."""
    timed = (EVENT_TIME,) if params.day_effects else ()
    table = read_interactions(ratings, (RATING, *timed), _WHAT)
    days = np.zeros(table.num_rows, np.int64)
    if timed:
        moments = times(table[EVENT_TIME], _WHAT)
        missing = np.flatnonzero(moments == OLDEST)[:SHOWN]
        if len(missing):
            shown = table.select(list(KEYS)).take(pa.array(missing)).to_pylist()
            raise undated([tuple(row.values()) for row in shown])
        days = moments // _DAY
    values = numbers(table[RATING], RATING, _WHAT).astype(np.float32)
    columns = {VALUE: pa.array(values, from_pandas=True), DATE: pa.array(days.astype(np.int32))}
    return pa.table({USER_ID: table[USER_ID], ITEM_ID: table[ITEM_ID], **columns})


def _encoded(
    given: Any, side: int, encoders: Encoders | None, kind: pa.DataType
) -> tuple[pa.Table, Any]:
    """Returns the encoder of one side, and feature rows with ids in the ratings' type."""
    key, what = KEYS[side], ("user_features", "item_features")[side]
    table = to_arrow_table(given, what)
    require_names(table, (key,), what)
    ids = id_column(table[key], key, what)
    if ids.null_count:
        raise InputError(f"{ids.null_count} row(s) of {what} have no {key}: remove them.")
    if ids.type != kind and pa.types.is_string(ids.type):
        raise SchemaError(
            f"{key} of {what} is a string, but {key} of the ratings is an integer: give both one "
            "type."
        )
    encoder = fit_table_encoder(table, key, encoders, side)
    vectors = matrix_lists(encode_table(table, encoder))
    kinds = pa.array(np.full(table.num_rows, side, np.int32))
    return pa.table({key: ids.cast(kind), KIND: kinds, VECTOR: vectors}), encoder


def _model(state: pa.Table, params: MatchboxParams, encoders: FittedEncoders) -> NumpyMatchboxModel:
    """Reads the model from the rows of the task; raises InputError if the task found a problem."""
    others = state.filter(pc.greater_equal(state["side"], REPORT)).sort_by("idx")
    data = dict.fromkeys((REPORT, PROBLEM), b"")
    for side, piece in zip(others["side"].to_pylist(), others["data"].to_pylist(), strict=True):
        data[side] += piece
    if data[PROBLEM]:
        raise InputError(data[PROBLEM].decode())
    users, items = (_side(state, side) for side in (USER, ITEM))
    files = {REPORT_FILE: data[REPORT]}
    for name, encoder in zip(ENCODERS, encoders, strict=True):
        if encoder is not None:
            files[name] = encoder.to_json().encode()
    model = load_numpy(ModelParts(users, items, params, files=files))
    note_convergence(measure_convergence(model.report.trace, params.burn_in), params)
    return model


def _side(state: pa.Table, side: int) -> pa.Table:
    """Returns the rows of users or items, with the mean of their biases over the samples."""
    rows = state.filter(pc.equal(state["side"], side)).sort_by("idx")
    biases = matrix_of(rows, "biases", len(combined(rows["biases"])[0])).astype(np.float64)
    means = np.add.accumulate(biases, axis=1)[:, -1] / biases.shape[1]
    return rows.append_column("mean_bias", pa.array(means.astype(np.float32)))
