"""Names, values and ids made to break out of a query or a path: refused, or kept as plain data."""

import json
import runpy
from functools import partial
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from tests.support.streams import runtime_in, stream_entry

from matchlake.config import load_config
from matchlake.errors import ConfigError, SchemaError
from matchlake.features.categories import MultiHot, OneHot
from matchlake.features.feature_set import FeatureSet
from matchlake.features.fit import fit_features
from matchlake.ingest.params import StreamParams
from matchlake.ingest.parse.user_match import NAMES, matched
from matchlake.ingest.streams.user_records import record_match
from matchlake.io.delta import Lakehouse
from matchlake.lakehouse.erasure import Erasure
from matchlake.model_store.spark import load_numpy, save_model
from matchlake.recommender.als.fit import AlsParams, fit_als
from matchlake.recommender.als.numpy_model import NumpyFactorModel
from matchlake.schemas import Column, TableSpec

EVIL = [
    "'); DROP TABLE witness.kept; --",
    "x' OR '1'='1",
    '"; DELETE FROM witness.kept; --',
    "`; DROP TABLE witness.kept; `",
    "\\' OR 1=1 --",
    "${env:PATH}",
    "../../../etc/passwd",
    "/etc/passwd",
    "a\nb\r\t\x00c",
    "%s%n{0}{x}",
    "\N{FULLWIDTH APOSTROPHE} OR 1=1",
    "<script>alert(1)</script>",
]
load_lake = runpy.run_path("jobs/load_lake.py")["run"]


@pytest.fixture
def lakehouse(spark: SparkSession, tmp_path: Path) -> Lakehouse:
    """A lakehouse with a table that no query here is to touch."""
    spark.sql("DROP SCHEMA IF EXISTS witness CASCADE")
    lake = Lakehouse(spark, None, str(tmp_path / "warehouse"))
    spec = TableSpec("witness.kept", "", (Column("id", "STRING", ""),), user_columns=())
    lake.append(spark.createDataFrame([("here",)], "id string"), spec)
    return lake


def unharmed(lakehouse: Lakehouse) -> bool:
    return [row.id for row in lakehouse.read("witness.kept").collect()] == ["here"]


def test_a_name_of_a_table_is_a_name(lakehouse: Lakehouse) -> None:
    for table in (each for name in EVIL for each in (name, f"witness.{name}", f"{name}.kept")):
        with pytest.raises(SchemaError, match="is not a valid name"):
            lakehouse.name(table)
        with pytest.raises(SchemaError):
            lakehouse.path(table)
    assert unharmed(lakehouse)


@pytest.mark.parametrize("name", [name for name in EVIL if "\x00" not in name])
def test_conf_takes_no_such_name(name: str) -> None:
    quoted = json.dumps(name)
    source = "path: x, format: json, table: a.b, comment: c, keys: [k], columns: "
    overrides = [
        f"streams.rating_events.table={quoted}",
        f"streams={{{quoted}: {{}}}}",
        f"lake.sources={{{quoted}: {{{source}{{k: {{type: string, comment: c}}}}}}}}",
        f"streams.rating_events.columns={{{quoted}: {{type: string, comment: c}}}}",
    ]
    for override in overrides:
        with pytest.raises(ConfigError):
            load_config("demo", [override])


def test_odd_columns_and_comments_stay_unchanged(lakehouse: Lakehouse) -> None:
    names = ["x'_OR_'1'='1".replace("=", ""), 'say"so"', "--c", "$x"]
    comments = [text for text in EVIL if "\x00" not in text]
    columns = [Column(name, "STRING", "c") for name in names]
    columns += [Column(f"c{at}", "STRING", text) for at, text in enumerate(comments)]
    spec = TableSpec("witness.odd", EVIL[0], tuple(columns), keys=("c0",), user_columns=())
    frame = lakehouse.frame([tuple(map(str, range(len(columns))))], spec)
    lakehouse.merge(frame, spec)
    found = lakehouse.read("witness.odd")
    assert found.columns == [column.name for column in columns]
    assert [field.metadata.get("comment") for field in found.schema][len(names) :] == comments
    assert found.count() == 1
    assert unharmed(lakehouse)


def test_evil_categories_are_categories(lakehouse: Lakehouse) -> None:
    rows = [(str(at), text, [text, "plain"]) for at, text in enumerate(EVIL)]
    frame = lakehouse.spark.createDataFrame(rows, "id string, one string, many array<string>")
    features = {"one": OneHot(), "many": MultiHot()}
    model = fit_features(frame, FeatureSet(name="t", keys=("id",), features=features))
    frame.createOrReplaceTempView("evil_rows")
    for made in (model.transform(frame), lakehouse.spark.sql(model.to_sql("evil_rows"))):
        table = made.toPandas().set_index("id")
        ones = table[[name for name in table if name.startswith("one_")]]
        assert (ones.sum(axis=1) == 1).all()
        assert (ones.sum(axis=0) == 1).all()
        many = table[[name for name in table if name.startswith("many_")]]
        assert (many.sum(axis=1) == 2).all()
    back = model.inverse_transform(model.transform(frame)).toPandas().set_index("id")
    assert back["one"].to_dict() == {str(at): text for at, text in enumerate(EVIL)}
    assert unharmed(lakehouse)


def test_evil_ids_are_ids(lakehouse: Lakehouse, spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "lake").mkdir()
    lines = [json.dumps({"k": text, "v": f"{text}-{at}"}) for at, text in enumerate(EVIL)]
    (tmp_path / "lake" / "evil.jsonl").write_text("\n".join(lines * 2))
    column = {"type": "string", "comment": "'); DROP TABLE witness.kept; --"}
    source = {
        "path": "evil*.jsonl",
        "format": "json",
        "table": "witness.evil",
        "comment": "c",
        "keys": ["k"],
        "columns": {"k": column, "v": column},
    }
    runtime = runtime_in(
        spark, tmp_path, lake={"sources": {"evil": source}, "quarantine": "witness.quarantine"}
    )
    load_lake(runtime)
    found = {row.k: row.v for row in runtime.lakehouse.read("witness.evil").collect()}
    assert found == {text: f"{text}-{at}" for at, text in enumerate(EVIL)}
    assert unharmed(lakehouse)


@pytest.mark.soak
def test_evil_ids_are_fitted_saved_and_recommended(lakehouse: Lakehouse, tmp_path: Path) -> None:
    rows = [
        (user, item, float(1 + (u * i) % 5))
        for u, user in enumerate(EVIL)
        for i, item in enumerate(EVIL)
        if (u + i) % 3
    ]
    frame = lakehouse.spark.createDataFrame(rows, "user_id string, item_id string, rating double")
    params = AlsParams(feedback="explicit", rank=2, iterations=1)
    save_model(fit_als(frame, params), tmp_path / "model")
    model = load_numpy(tmp_path / "model")
    assert isinstance(model, NumpyFactorModel)
    assert set(model.user_ids) == set(model.item_ids) == set(EVIL)
    for user in EVIL:
        seen = [item for rated, item, _ in rows if rated == user]
        told = {item for item, _ in model.recommend_items(user, 99, exclude_seen=seen)}
        assert told == set(EVIL) - set(seen)
    assert unharmed(lakehouse)


def test_a_table_parted_by_evil_values_stays_in_its_folder(
    lakehouse: Lakehouse, tmp_path: Path
) -> None:
    columns = (Column("k", "STRING", ""), Column("n", "INT", ""))
    spec = TableSpec("witness.parted", "", columns, partition_by=("k",), user_columns=())
    rows = [(text, at) for at, text in enumerate(EVIL) if "\x00" not in text]
    lakehouse.replace(lakehouse.frame(rows, spec), spec)
    assert sorted(map(tuple, lakehouse.read(spec.name).collect())) == sorted(rows)
    place = Path(lakehouse.path(spec.name) or "")
    files = [path for path in tmp_path.rglob("*.parquet") if path.name.startswith("part-")]
    outside = [path for path in files if not path.is_relative_to(place)]
    assert {path.parent.parent.name for path in outside} <= {"witness", "warehouse"}
    assert sum(path.is_relative_to(place) for path in files) == len(rows)
    assert {path.parent.parent for path in files if path.is_relative_to(place)} == {place}
    assert unharmed(lakehouse)


@pytest.mark.soak
def test_exactly_one_user_is_erased_for_any_id(lakehouse: Lakehouse) -> None:
    spec = TableSpec("witness.users", "", (Column("user_id", "STRING", ""),), user_columns=())
    lakehouse.append(lakehouse.frame([(t,) for t in EVIL], spec), spec)
    evil = "x' OR '1'='1"
    (done,) = Erasure(evil, [], lakehouse).run([spec.name])
    assert (done.rows, done.left) == (1, 0)
    left = {row.user_id for row in lakehouse.read(spec.name).collect()}
    assert left == set(EVIL) - {evil}
    assert unharmed(lakehouse)


def test_records_that_name_an_evil_user_are_found_and_no_others(lakehouse: Lakehouse) -> None:
    texts = [json.dumps({"user_id": text})[:-1] for text in EVIL]
    rows = [(at, b"", text.encode()) for at, text in enumerate(texts)]
    frame = lakehouse.spark.createDataFrame(rows, "at int, key binary, value binary")
    stream = StreamParams.model_validate(stream_entry("t", "witness"))
    for at, text in enumerate(EVIL):
        match = matched(partial(record_match, stream, text), F.col("key"), F.col("value"))
        found = frame.where(match == NAMES).select("at").collect()
        assert [row.at for row in found] == [at]
    assert unharmed(lakehouse)
