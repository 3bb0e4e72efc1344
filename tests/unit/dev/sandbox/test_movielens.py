"""MovieLens in each of its layouts, and what is said where a folder is none."""

import json
from pathlib import Path

import pandas as pd
import pytest

from matchlake.dev.sandbox.lake_files import write_lake_files
from matchlake.dev.sandbox.movielens import MovieLens, bundled_movielens, open_movielens
from matchlake.errors import SandboxError, SourceError

DAT_RATINGS = "1::1193::5::978300760\n1::2::3::978302109\n"
DAT_MOVIES = "1193::Vérité: Part One, La (1975)::Drama\n2::Jumanji (1995)::Adventure|Children's\n"
DAT_USERS = "1::F::1::10::48067\n2::M::56::16::70072-1234\n"
CSV_RATINGS = "userId,movieId,rating,timestamp\n1,110,0.5,1425941529\n007,147,4.5,1425942435\n"
CSV_MOVIES = (
    'movieId,title,genres\n110,"Good, the Bad (Le bon) (1966)",Western|War\n'
    "147,Babylon 5,Sci-Fi\n148,Él (1953),(no genres listed)\n"
)


def dat(folder: Path, encoding: str = "latin-1", **files: str) -> MovieLens:
    contents = {"ratings": DAT_RATINGS, "movies": DAT_MOVIES, "users": DAT_USERS} | files
    for name, text in contents.items():
        if text:
            (folder / f"{name}.dat").write_bytes(text.encode(encoding))
    return open_movielens(folder)


def csv(folder: Path, ratings: str = CSV_RATINGS, movies: str = CSV_MOVIES) -> MovieLens:
    (folder / "ratings.csv").write_text(ratings, encoding="utf-8")
    (folder / "movies.csv").write_text(movies, encoding="utf-8")
    return open_movielens(folder)


def test_bundled_set_is_whole_and_in_its_order() -> None:
    dataset = bundled_movielens()
    ratings = dataset.read_ratings()
    assert [*ratings.columns] == ["user_id", "item_id", "rating", "event_time"]
    assert str(ratings["event_time"].dtype) == "datetime64[us, UTC]"
    assert len(ratings) == 100_000
    assert not ratings.duplicated(["user_id", "item_id"]).any()
    assert ratings["rating"].mean() == pytest.approx(3.52986)
    first = ratings.iloc[0].to_list()
    assert first == ["196", "242", 3.0, pd.Timestamp("1997-12-04 15:55:49", tz="UTC")]
    assert ratings.iloc[-1].to_list()[:3] == ["12", "203", 3.0]

    users, items = dataset.read_users(), dataset.read_items()
    assert users is not None
    assert (len(users), len(items)) == (943, 1682)
    assert users.iloc[0].to_list() == ["1", 24, "M", "technician", "85711"]
    assert set(ratings["user_id"]) == set(users["user_id"])
    assert set(ratings["item_id"]) == set(items["item_id"])
    assert items.iloc[0].to_list() == [
        "1",
        "Toy Story",
        1995,
        ["Animation", "Children's", "Comedy"],
    ]
    by_id = items.set_index("item_id")
    assert by_id.loc["267", "year"] is pd.NA
    assert by_id.loc["267", "genres"] == []
    # The package has this one's year in its title.
    assert by_id.loc["1412", "year"] == 1995
    assert str(by_id.loc["1412", "title"]).endswith("Great Giving")
    assert items["genres"].explode().nunique() == 18


def test_package_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys  # noqa: PLC0415

    bundled_movielens()
    assert "recbole" not in sys.modules
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(SandboxError, match="`make install` brings it"):
        bundled_movielens()


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_double_colons(tmp_path: Path, encoding: str) -> None:
    dataset = dat(tmp_path, encoding)
    ratings = dataset.read_ratings()
    assert ratings["user_id"].to_list() == ["1", "1"]
    assert ratings["item_id"].to_list() == ["1193", "2"]
    assert ratings["rating"].to_list() == [5.0, 3.0]
    assert ratings["event_time"][0] == pd.Timestamp(978300760, unit="s", tz="UTC")
    items = dataset.read_items()
    assert items["title"].to_list() == ["Vérité: Part One, La", "Jumanji"]
    assert items["year"].to_list() == [1975, 1995]
    assert items["genres"].to_list() == [["Drama"], ["Adventure", "Children's"]]
    users = dataset.read_users()
    assert users is not None
    assert users.to_dict("list") == {
        "user_id": ["1", "2"],
        "age": [1, 56],
        "gender": ["F", "M"],
        "occupation": ["school student", "self-employed"],
        "zip_code": ["48067", "70072-1234"],
    }


def test_double_colons_without_users(tmp_path: Path) -> None:
    assert dat(tmp_path, users="").read_users() is None


def test_commas(tmp_path: Path) -> None:
    dataset = csv(tmp_path)
    ratings = dataset.read_ratings()
    assert ratings["user_id"].to_list() == ["1", "007"], "ids are text and stay as they are"
    assert ratings["rating"].to_list() == [0.5, 4.5]
    items = dataset.read_items()
    assert items["title"].to_list() == ["Good, the Bad (Le bon)", "Babylon 5", "Él"]
    assert items["year"].to_list() == [1966, pd.NA, 1953]
    assert items["genres"].to_list() == [["Western", "War"], ["Sci-Fi"], []]
    assert dataset.read_users() is None


def test_chunks_make_the_whole(tmp_path: Path) -> None:
    dataset = csv(tmp_path, CSV_RATINGS + "".join(f"{n},1,1,{n}\n" for n in range(10)))
    chunks = [*dataset.iterate_ratings(rows=5)]
    assert [len(chunk) for chunk in chunks] == [5, 5, 2]
    pd.testing.assert_frame_equal(pd.concat(chunks, ignore_index=True), dataset.read_ratings())


@pytest.mark.parametrize(
    ("ratings", "told"),
    [
        ("user,movie,rating,timestamp\n1,2,3,4\n", "first line is 'user,movie,rating,timestamp'"),
        ("", "first line is ''"),
        ("userId,movieId,rating,timestamp\n1,2,five,4\n", "'five'"),
        ("userId,movieId,rating,timestamp\n1,2,,4\n", "line 2 does not hold all of"),
        (
            "userId,movieId,rating,timestamp\n1,2,3,4,5,6\n",
            "Length of header or names does not match",
        ),
        ("userId,movieId,rating,timestamp\n1,2,3,9999999999999\n", "Out of bounds"),
    ],
)
def test_wrong_ratings_are_named(tmp_path: Path, ratings: str, told: str) -> None:
    dataset = csv(tmp_path, ratings)
    with pytest.raises(SourceError, match=told) as caught:
        dataset.read_ratings()
    assert str(tmp_path / "ratings.csv") in str(caught.value)


def test_short_line_is_numbered(tmp_path: Path) -> None:
    dataset = dat(tmp_path, users="1::F::1::10::48067\n2::M::56\n")
    with pytest.raises(SourceError, match=r"users.dat .* line 2 does not hold all of user_id"):
        dataset.read_users()


def test_the_error_of_another_folder_lists_its_files(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"it holds nothing; expected ml-100k\.inter with"):
        open_movielens(tmp_path)
    (tmp_path / "ratings.csv").touch()
    (tmp_path / "ml-1m").mkdir()
    with pytest.raises(SourceError, match=r"it holds ml-1m/, ratings.csv; .*ratings.csv with movi"):
        open_movielens(tmp_path)
    for number in range(20):
        (tmp_path / f"{number:02}").touch()
    with pytest.raises(SourceError, match="10, 11, 22 files in all;"):
        open_movielens(tmp_path)
    with pytest.raises(SourceError, match="is not a folder"):
        open_movielens(tmp_path / "absent")


def test_lake_files_hold_the_set_and_are_always_the_same(tmp_path: Path) -> None:
    dataset = bundled_movielens()
    first = write_lake_files(dataset, tmp_path / "a")
    times = [path.stat().st_mtime_ns for path in first]
    assert write_lake_files(dataset, tmp_path / "a") == first
    assert [path.stat().st_mtime_ns for path in first] == times, "what is as it was is let be"
    again = write_lake_files(dataset, tmp_path / "b")
    assert [path.name for path in first] == ["items.jsonl", "users.csv"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"items.jsonl", "users.csv"}

    users = pd.read_csv(tmp_path / "a" / "users.csv", dtype={"user_id": str, "zip_code": str})
    pd.testing.assert_frame_equal(users, dataset.read_users())
    lines = (tmp_path / "a" / "items.jsonl").read_text(encoding="utf-8").splitlines()
    items = [json.loads(line) for line in lines]
    assert len(items) == 1682
    assert items[266] == {"item_id": "267", "title": "unkonwn", "year": None, "genres": []}
    assert items[542]["title"] == "Misérables, Les"
    assert "Misérables, Les" in lines[542], "readable as it lies there"


def test_a_set_without_users_gives_no_users_file(tmp_path: Path) -> None:
    written = write_lake_files(csv(tmp_path), tmp_path / "lake")
    assert [path.name for path in written] == ["items.jsonl"]
