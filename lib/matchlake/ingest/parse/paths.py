"""The source fields of the declared columns, as paths and as a tree."""

from typing import Any

from matchlake.ingest.columns import ColumnParams, Columns


def path_of(name: str, column: ColumnParams) -> tuple[str, ...]:
    """The names on the path to the source field of the column."""
    return tuple((column.path or name).split("."))


def declared_tree(columns: Columns) -> dict[str, Any]:
    """The source fields of the declared columns, nested as in a record."""
    tree: dict[str, Any] = {}
    for name, column in columns.items():
        *above, last = path_of(name, column)
        node = tree
        for key in above:
            node = node.setdefault(key, {})
        node[last] = {}
    return tree
