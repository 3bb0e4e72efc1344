"""The claims of the benchmarks, and whether a run reaches them."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple


class Claim(NamedTuple):
    """One figure of a benchmark's result that has to be at least, or at most, so much."""

    work: str
    """What is measured, with its unit."""
    peer: str
    """The other side of the comparison; `none` for a figure of our own."""
    mark: float
    better: Literal["lower", "higher"]
    figure: tuple[str, ...]
    """The keys that lead to the figure in the result."""
    only: Mapping[str, Any] = {}
    """Values that the result must have for the claim to apply."""

    def judge(self, result: Mapping[str, Any]) -> dict[str, Any] | None:
        """The entry of `marks`; None where the run did not measure this."""
        value: Any = result
        for key in self.figure:
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is None or any(result.get(key) != given for key, given in self.only.items()):
            return None
        reached = value <= self.mark if self.better == "lower" else value >= self.mark
        return {
            "work": self.work,
            "peer": self.peer,
            "value": value,
            "mark": self.mark,
            "better": self.better,
            "reached": bool(reached),
        }


def _ratios(
    work: str, marks: Mapping[str, float], better: Literal["lower", "higher"], **only: Any
) -> tuple[Claim, ...]:
    """Claims on the entries of `ratio`, which are ours divided by theirs."""
    return tuple(
        Claim(work, peer, mark, better, ("ratio", peer), only) for peer, mark in marks.items()
    )


_SETS = ("ml-100k", "ml-latest-small", "complete-journey", "instacart", "planted")
_FALSE_ALARMS = ("figures", "false_alarms_per_1000")
_ALARM_RANGE: tuple[tuple[str, float, Literal["lower", "higher"]], ...] = (
    ("at least", 30, "higher"),
    ("at most", 70, "lower"),
)
_IMPLICIT = {"feedback": "implicit", "rank": 64}
CLAIMS: dict[str, tuple[Claim, ...]] = {
    "als": (
        *_ratios(
            "implicit ALS, rank 64: seconds per iteration, ours / theirs",
            {"implicit": 0.4, "irspack": 0.6, "mllib": 0.03},
            "lower",
            **_IMPLICIT,
        ),
        *_ratios(
            "implicit ALS, rank 128: seconds per iteration, ours / theirs",
            {"implicit": 0.45},
            "lower",
            feedback="implicit",
            rank=128,
        ),
        *_ratios(
            "explicit ALS, rank 64: seconds per iteration, ours / theirs",
            {"cmfrec": 0.5, "libmf": 0.3, "mllib": 0.03},
            "lower",
            feedback="explicit",
            rank=64,
        ),
    ),
    "recommend": _ratios(
        "best unseen items of all users: seconds, ours / theirs",
        {"implicit": 0.75, "mllib": 0.3, "mllib_all": 0.1},
        "lower",
    ),
    "ingest": _ratios(
        "10 million JSON events: records per second, ours / theirs",
        {"from_json": 1.2, "from_json_narrow": 1.0, "one_process": 3.0, "clean": 0.9},
        "higher",
    ),
    "features": _ratios(
        "fit, transform and write: seconds, ours / theirs",
        {
            "spark_ml": 0.3,
            "spark_ml_sparse": 0.45,
            "sklearn": 1.0,
            "wide_spark_ml_top": 0.25,
            "wide_spark_ml": 0.12,
            "engine_duckdb_duckdb": 1.5,
            "engine_duckdb_polars": 1.0,
            "engine_spark_duckdb": 4.0,
        },
        "lower",
    ),
    "matchbox": (
        Claim(
            "Gibbs sweep / Cholesky iteration of fit_als, seconds",
            "fit_als",
            1.5,
            "lower",
            ("ratio",),
            {"history_features": False},
        ),
        Claim(
            "Gibbs sweep with history features / Cholesky iteration of fit_als, seconds",
            "fit_als",
            1.75,
            "lower",
            ("ratio",),
            {"history_features": True},
        ),
    ),
    "defaults": (
        *(
            Claim(
                f"{name}: NDCG at 10 of the defaults of implicit ALS, ours / theirs",
                peer,
                mark,
                "higher",
                ("ratio", name, key),
            )
            for name in _SETS
            for key, peer, mark in (
                ("search", "random search of 20 draws", 0.95),
                ("implicit", "implicit", 1.0),
                ("lenskit", "lenskit", 1.0),
            )
        ),
        *(
            Claim(
                f"{name}: NDCG at 10 by constants chosen on the other sets, ours / theirs",
                "random search of 20 draws",
                0.95,
                "higher",
                ("chosen", name, "ratio"),
            )
            for name in _SETS
        ),
        *(
            Claim(f"ml-100k, {unit}: {what}", "weight", mark, "higher", ("units", unit, key))
            for unit in ("weight * 1000", "log(1 + weight)")
            for key, what, mark in (
                ("overlap", "overlap of lists at 10", 0.8),
                ("ndcg_ratio", "ratio of NDCG at 10", 0.97),
            )
        ),
    ),
    "quality": _ratios(
        "MovieLens-100K: NDCG at 10, ours / theirs",
        {
            "implicit": 1.0,
            "mllib": 0.99,
            "lenskit": 0.99,
            **dict.fromkeys(("irspack-ease", "irspack-slim", "rp3beta", "fastslim"), 1.0),
        },
        "higher",
    ),
    "slim": _ratios("SLIM: CPU seconds to fit, ours / theirs", {"fastslim": 1.0}, "lower"),
    "accuracy": tuple(
        Claim(f"{data}: {metric}", "none", mark, "lower", (data, "features+history", metric))
        for data, rmse, mae in (
            ("ml-100k", 0.876, 0.687),
            ("ml-latest-small", 0.83, 0.634),
            ("InstEval", 1.189, 0.9905),
        )
        for metric, mark in (("rmse", rmse), ("mae", mae))
    ),
    "models": (
        Claim(
            "heads against their estimators' own predictions, largest difference",
            "scikit-learn, lightgbm",
            1e-12,
            "lower",
            ("accuracy", "largest"),
        ),
        *(
            Claim(
                f"generated models, {name} against NumPy: difference / sum of absolute terms",
                "none",
                1e-14,
                "lower",
                ("engines", name, "largest"),
            )
            for name in ("onnx", "json", "spark")
        ),
        *(
            Claim(
                f"generated models, {name} against NumPy: other labels",
                "none",
                0,
                "lower",
                ("engines", name, "labels"),
            )
            for name in ("onnx", "json", "spark")
        ),
        Claim(
            "gradient boosting of 100 trees: seconds to score a table, ours / theirs",
            "mlflow.pyfunc.spark_udf",
            0.3,
            "lower",
            ("scoring", "ratio", "spark_udf"),
        ),
        Claim(
            "fit by the learner / by the estimator alone, seconds",
            "scikit-learn",
            1.15,
            "lower",
            ("fit", "ratio", "sklearn"),
        ),
        Claim(
            "seasonal ARIMAs of many series: seconds, ours / theirs over the cores",
            "statsmodels",
            1.1,
            "lower",
            ("sarimax", "ratio", "statsmodels"),
        ),
    ),
    "serve": (
        *(
            Claim(
                f"one row over HTTP, {name}: milliseconds, ours / theirs",
                "mlflow models serve",
                mark,
                "lower",
                ("http", "ratio", name),
            )
            for name, mark in (("p50", 0.15), ("p99", 0.30))
        ),
        Claim("memory of a process, MiB", "none", 120, "lower", ("http", "mib", "ours")),
        Claim("requests per second, two processes", "none", 1500, "higher", ("load", "ours")),
        Claim("seconds to the first answer", "none", 2.0, "lower", ("start", "seconds")),
        Claim(
            "fold-in and best 10 of 12,000 x 64 without seen, p99: ours / theirs",
            "onnxruntime MatMul and TopK",
            1.0,
            "lower",
            ("recommend", "ratio", "p99"),
        ),
        Claim("the same, p99: milliseconds", "none", 0.3, "lower", ("recommend", "ours", "p99")),
        Claim(
            "memory after many requests / after 10,000", "none", 1.02, "lower", ("memory", "ratio")
        ),
    ),
    "operate": (
        Claim("metrics that do not arrive", "none", 0, "lower", ("figures", "metrics_missing")),
        Claim("payloads with a secret", "none", 0, "lower", ("figures", "secrets_found")),
        Claim(
            "a broken endpoint: % of a job's time", "none", 1, "lower", ("figures", "cost_percent")
        ),
        *(
            Claim(f"alarms per 1,000 windows, {side}", "none", mark, better, _FALSE_ALARMS)
            for side, mark, better in _ALARM_RANGE
        ),
        Claim("planted changes found", "none", 1, "higher", ("figures", "planted_found")),
        Claim("planted features named", "none", 0.95, "higher", ("figures", "planted_named")),
        Claim("seeded mistakes found", "none", 1, "higher", ("figures", "mistakes_found")),
        Claim("mistakes in rendered files", "none", 0, "lower", ("figures", "rendered_mistakes")),
        Claim("widgets without rows", "none", 0, "lower", ("figures", "widgets_without_rows")),
    ),
    "trust": (
        *(
            Claim(
                f"{work}: share of experiments that passed", "none", 1.0, "higher", ("figures", row)
            )
            for row, work in (
                ("stalls", "stalled and woken runs, every recovery option"),
                ("histories", "random histories of a stream against a list of offsets"),
                ("erased", "erased users in tables, logs and files after every job"),
                ("overrides", "every key of conf set to a canary server"),
                ("bombs", "bad values and files among good ones"),
                ("races", "two runs of one job at once"),
            )
        ),
        Claim(
            "slowest kind of bad JSON record: CPU seconds, bad / good",
            "none",
            10.0,
            "lower",
            ("figures", "slowest"),
        ),
        Claim(
            "records per second from Kafka, this tree / another commit",
            "another commit",
            0.97,
            "higher",
            ("figures", "throughput"),
        ),
    ),
    "stream": (
        *(
            Claim(
                f"score_events in real time, event to score: {name} in milliseconds",
                "none",
                mark,
                "lower",
                ("real_time", name),
                {"rate": 1000},
            )
            for name, mark in (("p50", 20.0), ("p99", 200.0))
        ),
        Claim(
            "score_events, p99 of real time / of micro-batches",
            "micro-batches",
            0.25,
            "lower",
            ("ratio",),
        ),
        Claim(
            "serve-stream, event to list: p99 in milliseconds",
            "none",
            50.0,
            "lower",
            ("serve_stream", "p99"),
            {"rate": 1000},
        ),
    ),
    "online": (
        *(
            Claim(
                f"1 million rows published to {store}: seconds",
                "none",
                20.0,
                "lower",
                (store, "publish_seconds"),
                {"rows": 1_000_000},
            )
            for store in ("postgres", "arrow")
        ),
        *(
            Claim(
                f"lookup by key in {store}, 500 a second: p99 in milliseconds",
                "none",
                2.0,
                "lower",
                (store, "lookup_ms", "p99"),
                {"rate": 500},
            )
            for store in ("postgres", "arrow")
        ),
    ),
}
"""By benchmark what README and its tables claim; a run prints those that it measured."""


def with_marks(bench: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """The result with `marks`: one entry per claim that the run measured."""
    judged = (claim.judge(result) for claim in CLAIMS[bench])
    return {**result, "marks": [entry for entry in judged if entry]}
