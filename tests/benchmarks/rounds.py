"""The sides of a benchmark in turn, round by round: time, what they write, the memory they take."""

import shutil
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.benchmarks.memory import PeakMemory

Side = Callable[[Path], object]
Found = dict[str, dict[str, Any]]


def in_turn(
    sides: Mapping[str, Side],
    folder: Path,
    rounds: int,
    memory: PeakMemory,
    look: Callable[[Path], Any] | None = None,
) -> Found:
    """By side: seconds of each round, their median, MiB written, MiB of memory before and at most.

    Every other round goes from the last side to the first. A side that fails has its error, and no
    later round. `look` is asked once of the folder that a side wrote, which is deleted then.
    """
    found: Found = {name: {"seconds": []} for name in sides}
    for number in range(rounds):
        for name in list(sides)[:: -1 if number % 2 else 1]:
            if "error" not in found[name]:
                _one(sides[name], folder / "out", found[name], memory, look)
    return found


def _one(
    side: Side,
    out: Path,
    told: dict[str, Any],
    memory: PeakMemory,
    look: Callable[[Path], Any] | None,
) -> None:
    memory.restart()
    begin = time.perf_counter()
    try:
        side(out)
        told["seconds"].append(round(time.perf_counter() - begin, 2))
        told["median"] = statistics.median(told["seconds"])
        files = [file.stat().st_size for file in out.rglob("*") if file.is_file()]
        told |= {"mib_written": round(sum(files) / 2**20, 1)}
        told |= {"mib_before": memory.first, "mib_peak": max(memory.peak, told.get("mib_peak", 0))}
        if look and "found" not in told:
            told["found"] = look(out)
    except Exception as error:  # noqa: BLE001 - running out of memory is a result here
        told |= {"error": str(error)[:200], "mib_peak": memory.peak}
    finally:
        shutil.rmtree(out, ignore_errors=True)


def ratio(found: Found, ours: str, theirs: str) -> float | None:
    """The median of ours to that of theirs; None where one has none."""
    medians = [found[name].get("median") for name in (ours, theirs)]
    return round(medians[0] / medians[1], 3) if all(medians) else None
