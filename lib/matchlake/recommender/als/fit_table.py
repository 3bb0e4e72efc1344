"""`fit_als` without Spark: the body of the single-task fit on tables in memory."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from matchlake.errors import SchemaError
from matchlake.recommender.als.defaults import resolve
from matchlake.recommender.als.early_stopping import LIST_LENGTH, EarlyStopping
from matchlake.recommender.als.numpy_model import NumpyFactorModel, load_numpy
from matchlake.recommender.als.params import AlsParams
from matchlake.recommender.als.reports import (
    note_progress,
    nothing_to_measure,
    other_rank,
    require_finite,
    validation_columns,
)
from matchlake.recommender.als.task import REPEATED, REPORT, Task
from matchlake.recommender.id_types import exact_id
from matchlake.recommender.interaction_stats import refuse_repeated
from matchlake.recommender.progress import Progress, ProgressCallback, Report
from matchlake.recommender.protocol import ModelParts
from matchlake.recommender.sides import INDICES, ITEM, KEYS, USER
from matchlake.recommender.table_interactions import pack_table, prepare_table
from matchlake.recommender.tables import numbers, read_interactions
from matchlake.schemas import ITEM_ID, USER_ID

_VALIDATION = "the validation part"


def fit_table(
    interactions: Any,
    params: AlsParams,
    initial_model: NumpyFactorModel | None,
    validation: Any,
    callback: ProgressCallback | None,
) -> NumpyFactorModel:
    """`fit_als` on a table or a sparse matrix; see there."""
    spec = params.interaction_spec
    pairs = prepare_table(interactions, spec)
    measured = None if validation is None else _validation(validation, params)
    packed, stats = pack_table(pairs, spec)
    params = resolve(params, stats)
    state = None if initial_model is None else _continued(initial_model, pairs, params)
    stopping = EarlyStopping[pa.Table](params)
    interval = params.iterations if measured is None else params.checkpoint_interval
    done = 0
    while True:
        steps = min(interval, params.iterations - done)
        task = Task(params.model_copy(update={"iterations": steps}), stats.mean, done)
        state = _advance(task, packed, state)
        report = _report(state)
        done += steps
        require_finite(report, stats)
        metric = None
        if measured is not None:
            metric = _measure(_model(state, params, stats.mean), measured, pairs)
            stopping.note(metric, state)
        seconds = sum(report.seconds)
        progress = Progress(done, params.iterations, seconds, report.loss, metric, report.seconds)
        note_progress(progress, callback)
        if done >= params.iterations or stopping.spent:
            return _model(stopping.best_state(state), params, stats.mean)


def _advance(task: Task, packed: pa.Table, state: pa.Table | None) -> pa.Table:
    """The state after the iterations of `task`."""
    rows = packed
    if state is not None:
        trained = state.filter(pc.less_equal(state["side"], ITEM))
        trained = trained.select(["side", USER_ID, ITEM_ID, "factors", "bias"])
        rows = pa.concat_tables([packed, trained], promote_options="default")
    return pa.Table.from_batches(list(task(iter(rows.combine_chunks().to_batches()))))


def _report(state: pa.Table) -> Report:
    """Iterations done, their seconds and the loss; raises InputError if pairs repeat."""
    rows = state.filter(pc.greater(state["side"], ITEM)).to_pylist()
    refuse_repeated([(row[USER_ID], row[ITEM_ID]) for row in rows if row["side"] == REPEATED])
    last = rows[-1]
    seconds = tuple(row["seconds"] for row in rows if row["side"] == REPORT)
    return Report(last["idx"], last["loss"], seconds, (last["users"], last["items"]))


def _model(state: pa.Table, params: AlsParams, mean: float) -> NumpyFactorModel:
    users, items = (
        state.filter(pc.equal(state["side"], side)).rename_columns(
            [INDICES[side] if name == "idx" else name for name in state.column_names]
        )
        for side in (USER, ITEM)
    )
    return load_numpy(ModelParts(users, items, params, values={"mean": mean}))


def _continued(model: NumpyFactorModel, pairs: pa.Table, params: AlsParams) -> pa.Table:
    """The rows of `model` as a state; ids that cannot become ids of the interactions are left out.

    Raises ParameterError for a model of another rank.
    """
    if model.params.rank != params.rank:
        raise other_rank(model.params.rank, params.rank)
    parts = []
    for side, rows in zip((USER, ITEM), model.sides, strict=True):
        kinds = [pairs.schema.field(key).type for key in KEYS]
        ids = [_cast(key, kinds[side]) for key in rows.ids]
        kept = [n for n, key in enumerate(ids) if key is not None]
        factors = pa.array(list(rows.factors[kept]), pa.list_(pa.float32()))
        columns = {
            "side": pa.array(np.full(len(kept), side, np.int32)),
            KEYS[side]: pa.array([ids[n] for n in kept], kinds[side]),
            KEYS[1 - side]: pa.nulls(len(kept), kinds[1 - side]),
            "factors": factors,
            "bias": pa.array(np.asarray(rows.bias[kept], np.float32)),
        }
        parts.append(pa.table(columns).select(["side", USER_ID, ITEM_ID, "factors", "bias"]))
    return pa.concat_tables(parts)


def _cast(key: Any, kind: pa.DataType) -> Any:
    try:
        return exact_id(key, "" if pa.types.is_string(kind) else 0)
    except SchemaError:
        return None


def _validation(data: Any, params: AlsParams) -> pa.Table:
    """The complete rows of the validation part; raises InputError if there is none."""
    value = validation_columns(params)[2:]
    table = read_interactions(data, value, _VALIDATION)
    if value:
        values = numbers(table[value[0]], value[0], _VALIDATION)
        table = table.set_column(2, value[0], pa.array(values, from_pandas=True))
    complete = table.drop_null()
    if not complete.num_rows:
        raise nothing_to_measure(table.column_names)
    return complete


def _measure(model: NumpyFactorModel, measured: pa.Table, seen: pa.Table) -> float:
    """The metric of `EarlyStopping`."""
    if len(measured.column_names) > len(KEYS):
        scores = model.score(measured[USER_ID].to_pylist(), measured[ITEM_ID].to_pylist())
        errors = scores.astype(np.float64) - measured.column(2).to_numpy()
        return math.sqrt(float(np.mean(errors * errors)))
    pairs = measured.group_by(list(KEYS)).aggregate([])
    lists = model.recommend_items(pairs.select([USER_ID]), LIST_LENGTH, exclude_seen=seen)
    hits = pairs.join(lists.select(list(KEYS)), list(KEYS), join_type="inner").num_rows
    return float(hits / max(1, pairs.num_rows))
