"""The lakehouse: tables found by their place, written in one commit, refused where they differ."""

import dataclasses
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from matchlake.errors import TableError
from matchlake.io.delta import Lakehouse
from matchlake.io.delta_properties import add_constraints
from matchlake.io.delta_schema import struct_type
from matchlake.schemas import Column, TableSpec, ViewSpec

SPEC = TableSpec(
    "shop.prices",
    "It's a table",
    (
        Column("item", "STRING", "the item's key", nullable=False),
        Column("price", "DOUBLE", "its price"),
    ),
    keys=("item",),
    user_columns=(),
)


@pytest.fixture
def lakehouse(spark: SparkSession, tmp_path: Path) -> Lakehouse:
    spark.sql("DROP DATABASE IF EXISTS shop CASCADE")
    return Lakehouse(spark, None, str(tmp_path))


def rows(lakehouse: Lakehouse, *values: tuple[str | None, float | None]) -> DataFrame:
    return lakehouse.spark.createDataFrame(list(values), "item string, price double")


def content(lakehouse: Lakehouse, version: int | None = None) -> list[tuple[Any, ...]]:
    return sorted(tuple(row) for row in lakehouse.read(SPEC.name, version).collect())


def test_merge_updates_inserts_and_is_idempotent(lakehouse: Lakehouse) -> None:
    lakehouse.merge(rows(lakehouse, ("a", 1.0), ("b", None)), SPEC)
    lakehouse.merge(rows(lakehouse, ("b", 2.0), ("c", 3.0)), SPEC)
    assert content(lakehouse) == [("a", 1.0), ("b", 2.0), ("c", 3.0)]
    lakehouse.merge(rows(lakehouse, ("b", 2.0), ("c", 3.0)), SPEC)
    assert content(lakehouse) == [("a", 1.0), ("b", 2.0), ("c", 3.0)]


def test_merge_column_no_longer_declared_stays(lakehouse: Lakehouse) -> None:
    taxed = dataclasses.replace(SPEC, columns=(*SPEC.columns, Column("tax", "INT", "its tax")))
    lakehouse.merge(rows(lakehouse, ("a", 1.0), ("b", 2.0)).selectExpr("*", "7 AS tax"), taxed)
    lakehouse.merge(rows(lakehouse, ("b", 3.0), ("c", 4.0)), SPEC)
    assert content(lakehouse) == [("a", 1.0, 7), ("b", 3.0, 7), ("c", 4.0, None)]


def test_replace_is_one_version_and_the_old_one_can_be_read(lakehouse: Lakehouse) -> None:
    lakehouse.replace(rows(lakehouse, ("a", 1.0)), SPEC)
    before = lakehouse.version(SPEC.name)
    lakehouse.replace(rows(lakehouse, ("b", 2.0)), SPEC)
    assert lakehouse.version(SPEC.name) == before + 1
    assert content(lakehouse) == [("b", 2.0)]
    assert content(lakehouse, before) == [("a", 1.0)]


def test_replace_follows_a_changed_declaration(lakehouse: Lakehouse) -> None:
    lakehouse.replace(rows(lakehouse, ("a", 1.0)), SPEC)
    wider = dataclasses.replace(SPEC, columns=(*SPEC.columns, Column("tax", "DOUBLE", "the tax")))
    lakehouse.replace(rows(lakehouse, ("a", 1.0)).selectExpr("*", "0.2D AS tax"), wider)
    described = lakehouse.spark.sql("DESCRIBE shop.prices").collect()
    assert [tuple(row) for row in described] == [
        ("item", "string", "the item's key"),
        ("price", "double", "its price"),
        ("tax", "double", "the tax"),
    ]
    lakehouse.replace(rows(lakehouse, ("a", 1.0)), SPEC)
    assert lakehouse.read(SPEC.name).columns == ["item", "price"]


def test_append_null_key_raises_and_writes_nothing(lakehouse: Lakehouse) -> None:
    lakehouse.append(rows(lakehouse, ("a", 1.0)), SPEC)
    with pytest.raises((PySparkException, Py4JError), match="NOT_NULL"):
        lakehouse.append(rows(lakehouse, ("b", 1.0), (None, 2.0)), SPEC)
    assert content(lakehouse) == [("a", 1.0)]


def test_create_table_of_another_shape_raises(lakehouse: Lakehouse) -> None:
    lakehouse.append(rows(lakehouse, ("a", 1.0)), SPEC)
    other = dataclasses.replace(
        SPEC, columns=(SPEC.columns[0], Column("price", "STRING", ""), Column("tax", "INT", ""))
    )
    with pytest.raises(
        TableError, match=r"price is double, declared string; column tax \(int\) is missing"
    ):
        lakehouse.append(rows(lakehouse, ("b", 1.0)).selectExpr("*", "1 AS tax"), other)


def test_tables_another_session_finds_them_by_folder(lakehouse: Lakehouse) -> None:
    lakehouse.append(rows(lakehouse, ("a", 1.0)), SPEC)
    lakehouse.spark.sql("DROP TABLE shop.prices")
    again = Lakehouse(lakehouse.spark, None, lakehouse.folder)
    assert list(again.tables()) == again.register_tables() == ["shop.prices"]
    assert content(again) == [("a", 1.0)]


def test_tables_without_a_version_are_left_out(lakehouse: Lakehouse) -> None:
    (Path(str(lakehouse.folder)) / "shop" / "prices" / "_delta_log").mkdir(parents=True)
    assert lakehouse.register_tables() == list(lakehouse.tables()) == []
    assert not lakehouse.exists(SPEC.name)


def test_tables_invalid_folder_name_is_left_out_with_one_warning(
    lakehouse: Lakehouse, caplog: pytest.LogCaptureFixture
) -> None:
    lakehouse.append(rows(lakehouse, ("a", 1.0)), SPEC)
    folder = Path(str(lakehouse.folder)) / "shop"
    shutil.copytree(folder / "prices", folder / "prices-old")
    for _ in range(2):
        assert lakehouse.register_tables() == list(lakehouse.tables()) == ["shop.prices"]
    (told,) = [text for text in caplog.messages if "is left out" in text]
    assert "prices-old" in told


def test_require_missing_table_names_the_tables(lakehouse: Lakehouse) -> None:
    lakehouse.append(rows(lakehouse, ("a", 1.0)), SPEC)
    with pytest.raises(TableError, match=r"No table shop\.costs .*tables: shop\.prices"):
        lakehouse.read("shop.costs")


def test_create_view_has_comments_and_needs_its_tables(lakehouse: Lakehouse) -> None:
    query = "SELECT item FROM shop.prices WHERE price > 1"
    view = ViewSpec("shop.dear", "It's dear", (("item", "the item's key"),), query, (SPEC.name,))
    assert not lakehouse.create_view(view)
    lakehouse.append(rows(lakehouse, ("a", 1.0), ("b", 2.0)), SPEC)
    assert lakehouse.create_view(view)
    assert [row.item for row in lakehouse.read("shop.dear").collect()] == ["b"]
    assert lakehouse.spark.sql("DESCRIBE shop.dear").collect()[0].comment == "the item's key"


def test_lakehouse_folder_with_a_quote_works(spark: SparkSession, tmp_path: Path) -> None:
    spark.sql("DROP DATABASE IF EXISTS shop CASCADE")
    odd = Lakehouse(spark, None, str(tmp_path / "it's"))
    odd.append(rows(odd, ("a", 1.0)), SPEC)
    assert content(odd) == [("a", 1.0)]


def test_struct_type_has_nullability_and_comments(spark: SparkSession) -> None:
    assert spark.version
    field = struct_type(SPEC)["item"]
    assert (field.dataType.simpleString(), field.nullable) == ("string", False)
    assert field.metadata["comment"] == "the item's key"


def test_exists_creates_a_known_view(spark: SparkSession, tmp_path: Path) -> None:
    spark.sql("DROP DATABASE IF EXISTS shop CASCADE")
    query, over = "SELECT item FROM shop.prices", "SELECT item FROM shop.all_items"
    comments = (("item", "the item's key"),)
    views = (
        ViewSpec("shop.items", "all", comments, over, ("shop.all_items",)),
        ViewSpec("shop.all_items", "all", comments, query, (SPEC.name,)),
    )
    knowing = Lakehouse(spark, None, str(tmp_path), views)
    assert not knowing.exists("shop.items")
    knowing.append(rows(knowing, ("a", 1.0)), SPEC)
    assert [row.item for row in knowing.read("shop.items").collect()] == ["a"]


def test_add_constraints_ignores_the_case_of_the_name(lakehouse: Lakehouse) -> None:
    lakehouse.append(rows(lakehouse, ("a", 1.0)), SPEC)
    wanted = {"range_Price": "price > 0"}
    assert add_constraints(lakehouse, SPEC.name, wanted) == ["range_Price"]
    assert add_constraints(lakehouse, SPEC.name, wanted) == []


def test_create_later_columns_raise_or_are_added(lakehouse: Lakehouse) -> None:
    lakehouse.merge(rows(lakehouse, ("a", 1.0)), SPEC)
    day = Column("day", "DATE", "when", nullable=False)
    wider = dataclasses.replace(SPEC, columns=(day, *SPEC.columns))
    with pytest.raises(TableError, match=r"column day \(date\) is missing"):
        lakehouse.create(wider)
    lakehouse.create(wider, add_columns=True)
    lakehouse.create(wider, add_columns=True)
    new = lakehouse.spark.sql("SELECT 'b' item, 2.0D price, DATE'2024-05-01' day")
    lakehouse.append(new, wider)
    found = {row.item: row.day for row in lakehouse.read(SPEC.name).collect()}
    assert found == {"a": None, "b": date(2024, 5, 1)}
    text = (SPEC.columns[0], Column("price", "STRING", "a text"))
    other = dataclasses.replace(SPEC, columns=text)
    with pytest.raises(TableError, match="column price is double, declared string"):
        lakehouse.create(other, add_columns=True)
