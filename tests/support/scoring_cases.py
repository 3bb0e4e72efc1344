"""Generated scoring models over one table of hostile rows, without a fit in Spark."""

import datetime as dt
from collections import Counter
from decimal import Decimal
from typing import Any

import numpy as np
from tests.support.fitted_features import number_statistics

from matchlake.features.bucketize import Bucketize
from matchlake.features.categories import MultiHot, OneHot
from matchlake.features.encoder import Encoder
from matchlake.features.fitted import Declared, FittedFeature
from matchlake.features.kinds import FITTED
from matchlake.features.model import FeatureModel
from matchlake.features.names import Names
from matchlake.features.nonlinear import LogNormal, Sigmoid, Tanh
from matchlake.features.numpy_values import floats, is_null, text_of
from matchlake.features.requests import CategoryCounts
from matchlake.features.scalers import MaxAbs, MinMax, Number, Robust, ZScore
from matchlake.formulas.heads import AnyHead, CentroidsHead, LinearHead, TreesHead
from matchlake.model_store.scoring_model import ScoringModel

Random = np.random.Generator
SCHEMA = (
    "id INT, n DOUBLE, p DOUBLE, f FLOAT, i BIGINT, m DECIMAL(20,4), b BOOLEAN, c STRING, d DATE,"
    " l ARRAY<STRING>, k ARRAY<INT>"
)
TYPES = {
    "n": "double", "p": "double", "f": "float", "i": "bigint", "m": "decimal(20,4)",
    "b": "boolean", "c": "string", "d": "date", "l": "array<string>", "k": "array<int>",
}  # fmt: skip
EDGES = (0.0, -0.0, 5e-324, 1e-310, 1e300, -1e300, float("inf"), float("-inf"), float("nan"))
TEXTS = (
    *(
        "a",
        "A",
        "b",
        "",
        " ",
        "é",
        "e\u0301",
        "null",
        "${x}",
        "it's",
        "\\",
        "💥",
        "\0",
        "\1",
        "\0a",
    ),
    *("\1\0", "plumless", "buckeroo", "new\nline"),
)
NUMBERS = {
    "exact": (Number, MinMax, ZScore, MaxAbs, Robust, Bucketize),
    "close": (Sigmoid, Tanh, LogNormal),
}
LABELS = ("no", "yes", "it's", "\2odd", "💥")


def hostile_rows(count: int, seed: int = 0) -> list[tuple[Any, ...]]:
    """Rows of the schema with an id, every value at random, nulls and edges among them."""
    random = np.random.default_rng(seed)
    return [(row, *_row(random)) for row in range(count)]


def _row(random: Random) -> tuple[Any, ...]:
    values = {
        "n": _real(random, 3.0),
        "p": _real(random, 0.0),
        "f": float(np.float32(np.clip(_real(random, 1.0), -1e30, 1e30))),
        "i": int(random.integers(-4, 5)) if random.random() < 0.8 else int(random.integers(2**62)),
        "m": Decimal(int(random.integers(-(10**6), 10**6))) / 10000,
        "b": bool(random.random() < 0.5),
        "c": _text(random),
        "d": dt.date(2024, 2, 25) + dt.timedelta(int(random.integers(8))),
        "l": [_text(random) if random.random() < 0.9 else None for _ in range(random.integers(4))],
        "k": [int(random.integers(-3, 4)) for _ in range(random.integers(4))],
    }
    return tuple(None if random.random() < 0.08 else value for value in values.values())


def _real(random: Random, center: float) -> float:
    if random.random() < 0.15:
        return float(random.choice(EDGES))
    return float(random.choice([random.normal(center, 2.0), round(random.normal(center, 2.0), 1)]))


def _text(random: Random) -> str:
    return TEXTS[int(random.integers(len(TEXTS)))]


def as_columns(rows: list[tuple[Any, ...]]) -> dict[str, np.ndarray]:
    """The rows as object arrays by column."""
    columns = {}
    for position, name in enumerate(("id", *TYPES)):
        columns[name] = np.empty(len(rows), dtype=object)
        columns[name][:] = [row[position] for row in rows]
    return columns


def random_features(
    columns: dict[str, np.ndarray], random: Random, count: int = 5
) -> tuple[FeatureModel, np.ndarray]:
    """A feature set of `count` features, and which of its columns are exact in every engine."""
    names, made, exact = Names(), [], []
    small = {name: values[:200] for name, values in columns.items()}
    for number in range(count):
        column = str(random.choice(list(TYPES)))
        encoder, is_exact = _encoder(column, random)
        name = f"x{number}"
        for fixed in encoder.fixed_names(name):
            names.reserve(fixed)
        fitted = _learned(name, column, encoder, small[column], names)
        made.append(fitted)
        exact += [is_exact] * len(fitted.outputs())
    model = FeatureModel(name="t", rows=1, keys=("id",), features=tuple(made))
    return model, np.array(exact)


def _encoder(column: str, random: Random) -> tuple[Encoder, bool]:
    if column in "bcdlk" or (column == "i" and random.random() < 0.5):
        kind = MultiHot if column in "lk" else OneHot
        return kind.model_validate(
            {
                "max_categories": int(random.integers(1, 12)),
                "handle_null": random.choice(["zero", "indicator", "mode"]),
                "handle_unknown": random.choice(["ignore", "indicator"]),
                "drop": random.choice([None, "first"]),
            }
        ), True
    group = "exact" if random.random() < 0.7 else "close"
    kinds = NUMBERS[group]
    kind = kinds[int(random.integers(len(kinds)))]
    options: dict[str, Any] = {
        "handle_null": random.choice(["keep", "keep", "keep", "mean", "median", "mode"]),
        "add_indicator": bool(random.random() < 0.3),
    }
    if random.random() < 0.2:
        options["handle_null"] = 0.5
    if kind is MinMax:
        options["out_of_range"] = random.choice(["clip", "keep", "null"])
    if kind is Bucketize:
        options["edges"] = (-1.5, 0.0, 2.5)
    if kind is LogNormal:
        options["output"] = random.choice(["z_score", "cdf"])
    return kind.model_validate(options), group == "exact"


def _learned(
    name: str, column: str, encoder: Encoder, values: np.ndarray, names: Names
) -> FittedFeature:
    declared = Declared(name, column, TYPES[column], encoder)
    if encoder.form == "number":
        numbers = floats(values)
        fit = numbers[~(np.abs(numbers) > 100)]
        return FITTED["number"].learn(declared, number_statistics(fit, encoder), None, names)
    return FITTED["categories"].learn(declared, _counts(column, values), None, names)


def _counts(column: str, values: np.ndarray) -> CategoryCounts:
    kind = TYPES[column]
    text = text_of(kind.removeprefix("array<").removesuffix(">"))
    present = [value for value in values if not is_null(value)]
    if kind.startswith("array"):
        lists = [{text(each) for each in value if each is not None} for value in present]
        texts = [each for found in lists for each in found]
    else:
        texts = [text(value) for value in present]
    counts = sorted(Counter(texts).items(), key=lambda pair: (-pair[1], pair[0].encode()))
    return CategoryCounts(len(texts), len(values) - len(present), tuple(counts))


def random_head(kind: str, names: tuple[str, ...], matrix: np.ndarray, random: Random) -> AnyHead:
    """A head over these columns; thresholds of trees are values of the matrix and others."""
    if kind == "centroids":
        centers = random.normal(size=(int(random.integers(1, 6)), len(names)))
        return CentroidsHead(columns=names, centers=tuple(map(tuple, centers.tolist())))
    link = str(random.choice(["identity", "exp", "logit", "softmax"]))
    classes = {"logit": 2, "softmax": int(random.integers(2, 6))}.get(link, 0)
    labels = LABELS[:classes] or None
    scores = classes if link == "softmax" else 1
    if kind == "linear":
        weights = random.normal(size=(scores, len(names))) * random.choice([0.1, 1.0, 3.0])
        return LinearHead(
            columns=names,
            labels=labels,
            link=link,  # type: ignore[arg-type]
            weights=tuple(map(tuple, weights.tolist())),
            intercepts=tuple(random.normal(size=scores).tolist()),
        )
    return random_trees(names, matrix, random, (link, labels, scores))


def random_trees(
    names: tuple[str, ...], matrix: np.ndarray, random: Random, shape: tuple[Any, Any, int]
) -> TreesHead:
    """A few random trees, of one value per leaf or, for a mean, of one per score."""
    link, labels, scores = shape
    is_mean = bool(random.random() < 0.4)
    width = scores if is_mean or random.random() < 0.3 else 1
    count = int(random.integers(1, 4)) if width == scores else scores * int(random.integers(1, 3))
    lists: dict[str, list[Any]] = {
        name: [] for name in ("column", "threshold", "missing_left", "left", "right")
    }
    roots, values = [], []
    for _ in range(count):
        roots.append(len(lists["column"]))
        _grow(lists, values, (matrix, width), int(random.integers(0, 5)), random)
    targets = [tree % scores if width == 1 and scores > 1 else 0 for tree in range(count)]
    return TreesHead(
        columns=names,
        labels=labels,
        link=link,
        aggregate="mean" if is_mean else "sum",
        missing=str(random.choice(["routed", "null"])),  # type: ignore[arg-type]
        base=tuple(random.normal(size=scores).tolist()),
        width=width,
        roots=tuple(roots),
        targets=tuple(targets),
        values=tuple(values),
        **{name: tuple(found) for name, found in lists.items()},
    )


def _grow(
    lists: dict[str, list[Any]],
    values: list[float],
    given: tuple[np.ndarray, int],
    depth: int,
    random: Random,
) -> int:
    """Adds a node and all nodes below it; returns its number."""
    matrix, width = given
    own = len(lists["column"])
    for found in lists.values():
        found.append(0)
    if depth == 0 or random.random() < 0.15:
        lists["column"][own], lists["threshold"][own] = -1, 0.0
        lists["missing_left"][own], lists["left"][own] = False, len(values) // width
        values += random.normal(size=width).tolist()
        return own
    column = int(random.integers(matrix.shape[1]))
    known = matrix[np.isfinite(matrix[:, column]), column]
    threshold: float | None = float(random.choice(known)) if len(known) else 0.0
    if random.random() < 0.1:
        threshold = None
    lists["column"][own], lists["threshold"][own] = column, threshold
    lists["missing_left"][own] = bool(random.random() < 0.5)
    lists["left"][own] = _grow(lists, values, given, depth - 1, random)
    lists["right"][own] = _grow(lists, values, given, depth - 1, random)
    return own


def random_model(
    kind: str, columns: dict[str, np.ndarray], random: Random, count: int | None = None
) -> tuple[ScoringModel, np.ndarray]:
    """A model, and which of its feature columns are exact in every engine.

    Trees read exact columns alone: a threshold of the others is decided by rounding.
    """
    while True:
        features, exact = random_features(columns, random, count or int(random.integers(1, 6)))
        if len(exact) and (kind != "trees" or exact.all()):
            break
    matrix = features.transform_numpy(columns)
    names = tuple(output.name for output in features.outputs())
    head = random_head(kind, names, matrix, random)
    return ScoringModel(name="m", task=head.task, features=features, head=head), exact


def score_tolerance(model: ScoringModel, matrix: np.ndarray) -> np.ndarray:
    """For each row 1e-14 of the sum of the absolute terms of its scores, and of 1."""
    head, known = model.head, np.nan_to_num(np.abs(matrix), nan=0.0, posinf=0.0)
    known = np.minimum(known, 1e290)
    if isinstance(head, LinearHead):
        sums = (known @ np.abs(np.array(head.weights)).T + np.abs(head.intercepts)).max(axis=1)
    elif isinstance(head, TreesHead):
        largest = np.abs(head.values).max() * len(head.roots) + np.abs(head.base).max()
        sums = np.full(len(matrix), largest)
    else:
        sums = known.sum(axis=1) + np.abs(np.array(head.centers)).sum(axis=1).max()
    return np.asarray(1e-14 * (1.0 + sums))
