"""Generated rows of every type that features read, and sets of features over them."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st
from tests.support.cases import many

from matchlake.features.bucketize import Bucketize
from matchlake.features.categories import MultiHot, OneHot
from matchlake.features.kinds import Feature
from matchlake.features.nonlinear import LogNormal, Sigmoid, Tanh
from matchlake.features.scalers import MaxAbs, MinMax, Number, Robust, ZScore

CASES = 2000
SCHEMA = (
    "id INT, c STRING, b BOOLEAN, i BIGINT, d DATE, n DOUBLE, p DOUBLE, f FLOAT, l ARRAY<STRING>,"
    " m DECIMAL(20,4), s SMALLINT, t TINYINT, k ARRAY<INT>, e ARRAY<DATE>"
)
ARROW = pa.schema(
    [
        pa.field("id", pa.int32()),
        pa.field("c", pa.string()),
        pa.field("b", pa.bool_()),
        pa.field("i", pa.int64()),
        pa.field("d", pa.date32()),
        pa.field("n", pa.float64()),
        pa.field("p", pa.float64()),
        pa.field("f", pa.float32()),
        pa.field("l", pa.list_(pa.string())),
        pa.field("m", pa.decimal128(20, 4)),
        pa.field("s", pa.int16()),
        pa.field("t", pa.int8()),
        pa.field("k", pa.list_(pa.int32())),
        pa.field("e", pa.list_(pa.date32())),
    ]
)
SAME_CRC = ("plumless", "buckeroo")
TEXT = st.one_of(
    st.sampled_from(
        ["a", "A", "b", "", " ", "é", "e\u0301", "null", "${x}", "it's", "\\", "💥", *SAME_CRC]
    ),
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=6),
)
WHOLE = st.one_of(st.integers(-3, 3), st.integers(-(2**63), 2**63 - 1))
EDGES = [0.0, -0.0, 5e-324, 1e300, -1e300, float("inf"), float("-inf"), float("nan")]
REAL = st.one_of(st.floats(-10, 10), st.sampled_from(EDGES), st.floats(-1e300, 1e300))
LARGE = st.decimals(Decimal(-(10**15)), Decimal(10**15), places=4)
ROW = st.tuples(
    st.none() | TEXT,
    st.none() | st.booleans(),
    st.none() | WHOLE,
    st.none() | st.dates(date(1, 1, 1)),
    st.none() | REAL,
    st.none() | st.floats(-1, 1e6) | st.sampled_from(EDGES),
    st.none() | st.floats(width=32),
    st.none() | st.lists(st.none() | TEXT, max_size=4),
    st.none() | st.decimals(Decimal(-10), Decimal(10), places=4) | LARGE,
    st.none() | st.integers(-9, 9) | st.integers(-(2**15), 2**15 - 1),
    st.none() | st.integers(-3, 3) | st.integers(-(2**7), 2**7 - 1),
    st.none() | st.lists(st.none() | st.integers(-3, 3), max_size=4),
    st.none() | st.lists(st.none() | st.dates(date(2024, 2, 27), date(2024, 3, 2)), max_size=4),
)
KINDS = {"c": OneHot, "b": OneHot, "i": OneHot, "d": OneHot, "l": MultiHot}
CATEGORICAL = {
    f"{column}_{variant}": kind(column=column, **chosen)
    for column, kind in KINDS.items()
    for variant, chosen in {
        "zero": {"max_categories": 12},
        "own": {"max_categories": 5, "handle_null": "indicator", "handle_unknown": "indicator"},
        "share": {
            "min_coverage": 0.5,
            "max_categories": 30,
            "drop": "first",
            "handle_unknown": "indicator",
        },
        "mode": {"max_categories": 3, "handle_null": "mode", "handle_unknown": "indicator"},
    }.items()
}
CATEGORICAL |= {
    "c_many": OneHot(column="c", max_categories=500, handle_unknown="indicator"),
    "i_many": OneHot(column="i", max_categories=500, handle_null="indicator", drop="first"),
}
EXACT = {
    "n_clip": MinMax(column="n"),
    "n_wide": MinMax(column="n", range=(-0.1, 0.2), handle_null=0.5, add_indicator=True),
    "n_keep": MinMax(column="n", out_of_range="keep"),
    "n_null": MinMax(column="n", out_of_range="null"),
    "f_mode": MinMax(column="f", handle_null="mode"),
    "i_range": MinMax(column="i", handle_null="median"),
    "b_range": MinMax(column="b"),
    "n_number": Number(column="n", handle_null="median", add_indicator=True),
    "n_fixed": Bucketize(column="n", edges=(-1.5, 0.0, 7.0)),
    "n_parts": Bucketize(column="n", buckets=7),
    "f_abs": MaxAbs(column="f"),
    "n_robust": Robust(column="n", handle_null=1.0),
}
CLOSE = {
    "f_z": ZScore(column="p", handle_null="mean"),
    "n_sigmoid": Sigmoid(column="n"),
    "p_sigmoid": Sigmoid(column="p", standardize=True),
    "n_tanh": Tanh(column="n"),
    "p_tanh": Tanh(column="p", standardize=True),
    "p_log": LogNormal(column="p"),
    "p_share": LogNormal(column="p", output="cdf", handle_null="mode"),
}


SETS: Mapping[str, Mapping[str, Feature]] = {
    "other types": {
        "m": MinMax(handle_null="mean"),
        "m_parts": Bucketize(column="m", buckets=5),
        "s": OneHot(max_categories=9, handle_unknown="indicator"),
        "s_range": MinMax(column="s", range=(-3, 5), handle_null="mode"),
        "t": OneHot(max_categories=200, handle_null="indicator"),
        "t_abs": MaxAbs(column="t", handle_null=0.5, add_indicator=True),
        "k": MultiHot(handle_null="indicator"),
        "k_few": MultiHot(column="k", max_categories=2, handle_unknown="indicator", drop="first"),
        "e": MultiHot(handle_null="mode", handle_unknown="indicator"),
    },
    "names that layouts could take for their own": {
        **{name: OneHot(column="b") for name in ("c_hash", "in_c_hash", "values", "indices")},
        "features": OneHot(column="b"),
        "c": OneHot(max_categories=40),
        "in_c": Number(column="i"),
    },
    "only numbers": {"n": Number(handle_null="keep"), "i": MinMax(out_of_range="null")},
    "only lists": {"l": MultiHot(max_categories=9), "k": MultiHot(handle_unknown="indicator")},
    "one category": {"d": OneHot(max_categories=1, drop="first", handle_unknown="indicator")},
}


def cases() -> list[tuple[Any, ...]]:
    rows = many(ROW, CASES)
    return [(i, *row) for i, row in enumerate(rows)]
