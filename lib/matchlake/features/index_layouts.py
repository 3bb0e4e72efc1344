"""The layouts `index` and `sparse`: indices of the ones instead of one column per category.

The numeric columns have the first indices, then the indicator columns follow. The layout `sparse`
has one column with indices and values; numbers are always stored, also zeros. The layout `index`
has one column per number, and one column of indices per other feature. A wide vocabulary
therefore costs one lookup per row, not one column per category.
"""

from collections.abc import Sequence

from matchlake.features.fitted import FittedFeature, Output
from matchlake.features.names import stage_column
from matchlake.features.numpy_blocks import ABSENT
from matchlake.formulas.sql import Dialect

SPARSE_COLUMN = "features"
SPARSE_TYPE = "STRUCT<indices: ARRAY<INT>, values: ARRAY<DOUBLE>>"


def indexed_outputs(features: Sequence[FittedFeature]) -> list[Output]:
    """The output columns in the order of their indices: numeric features first, then the others."""
    ordered = sorted(features, key=lambda fitted: fitted.gives_ones)
    return [output for fitted in ordered for output in fitted.outputs()]


def sparse_stages(features: Sequence[FittedFeature], dialect: Dialect) -> list[dict[str, str]]:
    """The SQL of each stage, by column name; a stage reads the columns of the stage before.

    The last stage has one column `features`: a struct of indices array<int>, ascending, and values
    array<double>.
    """
    values = list(_numbers(features, dialect).values())
    prepared, ones_by_feature = _ones(features, dialect)
    indices = [
        *map(str, range(len(values))),
        *(each for ones in ones_by_feature.values() for each in ones),
    ]
    found_values, found_indices = stage_column("values"), stage_column("indices")
    names = [dialect.identifier(name) for name in (found_values, found_indices)]
    present = dialect.without_absent.format(", ".join(indices))
    second = {found_values: names[0], found_indices: present}
    ones = f"{dialect.size.format(names[1])} - {len(values)}"
    last = {SPARSE_COLUMN: dialect.sparse.format(values=names[0], indices=names[1], ones=ones)}
    return [{found_values: dialect.doubles(values), **prepared}, second, last]


def index_stages(features: Sequence[FittedFeature], dialect: Dialect) -> list[dict[str, str]]:
    """The stages of `index`: one column per number, one column of indices per other feature."""
    prepared, ones_by_feature = _ones(features, dialect)
    numbers: dict[str, str] = {}
    last: dict[str, str] = {}
    for fitted in features:
        if not fitted.gives_ones:
            outputs = fitted.sql_outputs(dialect)
            numbers |= outputs
            last |= {name: dialect.identifier(name) for name in outputs}
        elif fitted.is_list:
            last[fitted.name] = dialect.without_absent.format(
                ", ".join(ones_by_feature[fitted.name])
            )
        else:
            last[fitted.name] = f"NULLIF({ones_by_feature[fitted.name][0]}, {ABSENT})"
    return [numbers | prepared, last]


def _numbers(features: Sequence[FittedFeature], dialect: Dialect) -> dict[str, str]:
    numbers = [fitted for fitted in features if not fitted.gives_ones]
    return {name: text for fitted in numbers for name, text in fitted.sql_outputs(dialect).items()}


def _ones(
    features: Sequence[FittedFeature], dialect: Dialect
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """The SQL of prepared columns, and per feature the SQL of its indices, which reads them."""
    first = len(_numbers(features, dialect))
    prepared: dict[str, str] = {}
    ones_by_feature = {}
    for fitted in features:
        if fitted.gives_ones:
            indices = fitted.sql_indices(first, dialect)
            prepared |= indices.prepared
            ones_by_feature[fitted.name] = indices.indices
            first += len(fitted.outputs())
    return prepared, ones_by_feature
