"""The categories of a feature: which ones a fit keeps, in which order."""

from matchlake.features.categories import CategoryEncoder
from matchlake.features.names import Names
from matchlake.features.requests import CategoryCounts
from matchlake.params import Params


class Category(Params):
    """One category: its value as text, its output column, and its number of rows at fit."""

    value: str
    column: str
    rows: int


def choose_categories(
    name: str,
    encoder: CategoryEncoder,
    counts: CategoryCounts,
    before: tuple[Category, ...],
    names: Names,
) -> tuple[Category, ...]:
    """Keeps the categories `before` in their order, then adds the most frequent new ones.

    The limits of `encoder` bound their number. `names` gives the columns of new categories of the
    feature `name`.
    """
    rows = dict(counts.values)
    categories = [c.model_copy(update={"rows": rows.get(c.value, 0)}) for c in before]
    covered = sum(category.rows for category in categories)
    known = {category.value for category in before}
    for value, count in counts.values:
        if value in known or count < encoder.min_rows:
            continue
        full = len(categories) >= encoder.max_categories
        if full or covered >= encoder.min_coverage * counts.present:
            break
        categories.append(Category(value=value, column=names.claim(name, value), rows=count))
        covered += count
    return tuple(categories)
