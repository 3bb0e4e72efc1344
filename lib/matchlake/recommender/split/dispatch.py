"""`split`: the kind of split that the parameters name."""

from typing import TYPE_CHECKING, Any, overload

from matchlake.engine.frames import Rows, is_spark
from matchlake.recommender.split.params import SplitParams
from matchlake.recommender.split.result import Split
from matchlake.recommender.split.table import split_table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


@overload
def split(interactions: "DataFrame", params: SplitParams) -> Split: ...


@overload
def split(interactions: Rows, params: SplitParams) -> tuple[Any, Any]: ...


def split(interactions: Any, params: SplitParams) -> Any:
    """Splits `interactions` (user_id, item_id; event_time for the kinds of time) by `params`.

    `interactions` is a Spark frame, a pandas, Polars or Arrow table, or a sparse matrix. For a
    Spark frame no Spark job starts; the others need no Spark. All kinds of tables are split
    equally. Raises SchemaError if a column is missing.
    """
    if is_spark(interactions):
        from matchlake.recommender.split.on_spark import split_frame  # noqa: PLC0415

        return split_frame(interactions, params)
    return split_table(interactions, params)
