"""Each problem of conf has a line with its file, its line, its key and what to write instead."""

import shutil
from pathlib import Path

import pytest
from tests.support.sources import ROOT

from matchlake.config import load_config
from matchlake.errors import ConfigError

BASE = """\
lakehouse: null
checkpoints: here
streams:
  events: &events
    topic: events
    table: bronze.events
    valid_view: bronze.valid
    quarantine_view: bronze.refused
    comment: Events.
    columns:
      user_id: {type: string, comment: u}
  others: {<<: *events, table: bronze.others}
"""


def problems(tmp_path: Path, local: str, *overrides: str) -> list[str]:
    """The lines of the error, without the folder."""
    (tmp_path / "base.yml").write_text(BASE)
    (tmp_path / "local.yml").write_text(local)
    with pytest.raises(ConfigError) as caught:
        load_config("local", overrides, tmp_path)
    return str(caught.value).replace(f"{tmp_path}/", "").splitlines()[1:]


@pytest.mark.parametrize(
    ("local", "line"),
    [
        ("lakhouse: x", "local.yml:1: lakhouse: unknown key, did you mean lakehouse?"),
        (
            "\nstreams: {events: {formt: json}}",
            "local.yml:2: streams.events.formt: unknown key, did you mean format?",
        ),
        (
            "streams:\n  events:\n    columns:\n      user_id: {type: strin}",
            "local.yml:4: streams.events.columns.user_id.type: type strin is none of string, int",
        ),
        (
            "train: {als: {rank: yes}}",
            "local.yml:1: train.als.rank: must be an integer, without quotes and leading zeros",
        ),
        (
            "train: {als: {rank: true}}",
            "local.yml:1: train.als.rank: must be an integer, without quotes and leading zeros",
        ),
        (
            "train: {als: {rank: 010}}",
            "local.yml:1: train.als.rank: must be an integer, without quotes and leading zeros",
        ),
        (
            "train: {als: {alpha: '1'}}",
            "local.yml:1: train.als.alpha: must be a number, without quotes and leading zeros",
        ),
        ("maintain: {vacuum: 1}", "local.yml:1: maintain.vacuum: must be true or false"),
        ("maintain: {vacuum: on}", "local.yml:1: maintain.vacuum: must be true or false"),
        (
            "train: {ranking: {ks: [5, '10']}}",
            "local.yml:1: train.ranking.ks.1: must be an integer, without quotes",
        ),
        ("train: {als: {rank: 0}}", "local.yml:1: train.als.rank: must be 1 or more"),
        (
            "streams: {events: 5}",
            "local.yml:1: streams.events: must be a mapping: keys with values",
        ),
        (
            "streams: {events: {columns: {User_ID: {type: string, comment: u}}}}",
            "local.yml:1: streams.events.columns: columns user_id and User_ID differ only by case",
        ),
        ("spark: {a: 1}", "local.yml:1: spark.a: must be text: put it into quotes"),
    ],
)
def test_problem_names_file_line_key_and_remedy(tmp_path: Path, local: str, line: str) -> None:
    (found,) = problems(tmp_path, local)
    assert found.strip().startswith(line)


def test_problem_of_an_override_names_the_option(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, "{}", "train.als.rank=yes")
    assert found.startswith("  --set: train.als.rank: must be an integer")


def test_every_problem_has_a_line_of_its_own(tmp_path: Path) -> None:
    local = "lakhouse: x\ntrain:\n  als: {rank: no, alpha: '1', objectiv: x}\n"
    lines = problems(tmp_path, local)
    assert [line.split(": ")[0].strip() for line in lines] == [
        *("local.yml:1", "local.yml:3", "local.yml:3", "local.yml:3"),
    ]


def test_null_removes_a_stream_of_base(tmp_path: Path) -> None:
    (tmp_path / "base.yml").write_text(BASE)
    (tmp_path / "local.yml").write_text("streams: {events: null}\n")
    assert list(load_config("local", [], tmp_path).streams) == ["others"]
    assert list(load_config("local", ["streams.others=null"], tmp_path).streams) == []


def test_extends_reads_files_between_base_and_the_environment(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "base.yml").write_text(BASE)
    (tmp_path / "local.yml").write_text("lakehouse: here\nstreams: {others: {topic: a}}\n")
    (tmp_path / "data" / "films.yml").write_text("streams: {others: {topic: b}}\n")
    (tmp_path / "demo.yml").write_text("extends: [local.yml, data/films.yml]\n")
    config = load_config("demo", [], tmp_path)
    assert (config.lakehouse, config.streams["others"].topic) == ("here", "b")
    (tmp_path / "demo.yml").write_text(
        "extends: [local.yml, data/films.yml]\nstreams: {others: {topic: c}, events: null}\n"
    )
    config = load_config("demo", [], tmp_path)
    assert {name: each.topic for name, each in config.streams.items()} == {"others": "c"}
    with pytest.raises(ConfigError, match=r"--set extends: only conf/demo.yml names the files"):
        load_config("demo", ["extends=[local.yml]"], tmp_path)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[nowhere.yml]", r"demo.yml:1: extends: there is no file nowhere.yml in"),
        ("[../secret.yml]", r"demo.yml:1: extends: must be below the folder"),
        ("[/etc/passwd]", r"demo.yml:1: extends: must be below the folder"),
        ("local.yml", r"demo.yml:1: extends: must be a list of files"),
        ("[1]", r"demo.yml:1: extends: must be a list of files"),
        ("[chain.yml]", r"chain.yml:1: extends: only the file of an environment extends"),
    ],
)
def test_extends_refuses_what_it_cannot_read(tmp_path: Path, value: str, message: str) -> None:
    (tmp_path / "base.yml").write_text(BASE)
    (tmp_path / "local.yml").write_text("{}")
    (tmp_path / "chain.yml").write_text("extends: [local.yml]")
    (tmp_path / "demo.yml").write_text(f"extends: {value}")
    with pytest.raises(ConfigError, match=message):
        load_config("demo", [], tmp_path)


def test_extends_names_the_file_and_line_of_a_problem(tmp_path: Path) -> None:
    (tmp_path / "base.yml").write_text(BASE)
    (tmp_path / "local.yml").write_text("\nlakhouse: x\n")
    (tmp_path / "demo.yml").write_text("extends: [local.yml]\n")
    with pytest.raises(ConfigError, match=r"local.yml:2: lakhouse: unknown key, did you mean"):
        load_config("demo", [], tmp_path)


def test_references_between_sections_are_checked_at_their_line(tmp_path: Path) -> None:
    folder = tmp_path / "conf"
    shutil.copytree(ROOT / "conf", folder)
    data = folder / "data" / "movielens.yml"
    text = data.read_text()
    line = next(n for n, each in enumerate(text.splitlines(), 1) if "stream: rating_events" in each)
    data.write_text(text.replace("stream: rating_events", "stream: rating_event"))
    with pytest.raises(ConfigError) as raised:
        load_config("demo", [], folder)
    assert (
        f"movielens.yml:{line}: silver.tables.ratings.stream: rating_event is not a stream"
        in str(raised.value)
    )
    assert "did you mean rating_events?" in str(raised.value)
    data.write_text(text.replace("        item_id: item_id\n", "        item_id: itm\n"))
    message = r"sources.ratings.item_id: itm is not a column, did you mean item_id\?"
    with pytest.raises(ConfigError, match=message):
        load_config("demo", [], folder)
    data.write_text(text.replace("        rating: rating ", "        rating: stars "))
    with pytest.raises(
        ConfigError, match=r"sources.ratings.rating: stars is not a column; columns: "
    ):
        load_config("demo", [], folder)
