"""Applies the rules of a stream to the records of a batch, before the batch is written."""

from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.ingest.params import StreamParams
from matchlake.ingest.row_rules import apply_rules, failed_rules, require_unbroken
from matchlake.ingest.schema import QUARANTINED, RAW, STATUS
from matchlake.ingest.tables import record_columns

_POSITION = ("topic", "partition", "offset")


def with_rules(rows: DataFrame, stream: StreamParams, names: Sequence[str]) -> DataFrame:
    """The columns `names` of the rows of a batch, after the rules of the stream. Lazy.

    A record that breaks a rule becomes a quarantined one: its declared columns are null. `rows`
    have `raw` in each row; the result has it in quarantined ones.
    """
    cleared = [column.name for column in record_columns(stream)]
    ruled = apply_rules(rows, stream.rule_set, names, cleared)
    return ruled.withColumn(RAW.name, F.when(F.col(STATUS.name) == QUARANTINED, F.col(RAW.name)))


def require_obeyed(rows: DataFrame, stream: StreamParams, name: str, batch: int) -> None:
    """Raises InputError if a record of the batch breaks a rule with the action `fail`.

    If the stream has a rule with `fail`, this reads the batch once more.
    """
    rules = stream.rule_set
    broken = failed_rules(rows, rules, _POSITION)
    require_unbroken(f"{name}, {stream.table}", f"batch {batch}", rules, broken)
