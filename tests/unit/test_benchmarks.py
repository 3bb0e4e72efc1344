"""What benchmarks stand on: they run by their path, and keep what they found when a side fails."""

import subprocess
import sys
from pathlib import Path

from tests.benchmarks.marks import with_marks
from tests.benchmarks.memory import PeakMemory
from tests.benchmarks.rounds import in_turn, ratio
from tests.support.sources import ROOT


def test_a_benchmark_run_by_its_path_finds_the_package_of_tests(tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path[0] = {str(ROOT / 'tests' / 'benchmarks')!r}; "
        "import tests.benchmarks.planted, tests.support.cases"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


def test_sides_take_turns_and_one_that_fails_costs_no_other(tmp_path: Path) -> None:
    order = []

    def side(name: str, out: Path) -> None:
        order.append(name)
        out.mkdir()
        (out / "rows").write_bytes(bytes(2**20))
        if name == "dies" and len(order) > 3:
            raise RuntimeError("no heap")

    sides = {
        "ours": lambda out: side("ours", out),
        "dies": lambda out: side("dies", out),
        "theirs": lambda out: side("theirs", out),
    }
    with PeakMemory() as memory:
        found = in_turn(sides, tmp_path, 3, memory, look=lambda out: len(list(out.iterdir())))
    assert order == ["ours", "dies", "theirs", "theirs", "dies", "ours", "ours", "theirs"]
    assert [len(found[name]["seconds"]) for name in sides] == [3, 1, 3]
    assert found["dies"]["error"] == "no heap"
    assert (found["ours"]["mib_written"], found["ours"]["found"]) == (1.0, 1)
    assert found["ours"]["mib_peak"] > 0
    assert list(tmp_path.iterdir()) == []
    found["ours"]["median"], found["theirs"]["median"] = 1.0, 4.0
    del found["dies"]["median"]
    assert ratio(found, "ours", "theirs") == 0.25
    assert ratio(found, "ours", "dies") is None


def test_marks_compare_only_measured_values() -> None:
    result = {"feedback": "implicit", "rank": 64, "ratio": {"implicit": 0.36, "mllib": 0.5}}
    found = {entry["peer"]: entry for entry in with_marks("als", result)["marks"]}
    assert found["implicit"]["reached"] is True
    assert (found["mllib"]["value"], found["mllib"]["reached"]) == (0.5, False)
    assert "irspack" not in found
    assert with_marks("als", {**result, "rank": 32})["marks"] == []
    higher = with_marks("ingest", {"ratio": {"from_json": 1.19}})["marks"]
    assert [entry["reached"] for entry in higher] == [False]
