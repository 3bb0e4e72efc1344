"""Warnings of fits in several threads at once."""

import threading
import warnings

from matchlake.learners.fit_warnings import recorded_warnings


def test_each_thread_has_its_own_warnings_and_the_filters_come_back() -> None:
    before, shown = list(warnings.filters), warnings.showwarning
    inside = threading.Barrier(4)
    found: dict[int, list[str]] = {}

    def fit(number: int) -> None:
        with recorded_warnings() as texts:
            inside.wait(20)
            for each in range(3):
                warnings.warn(f"{number}-{each}\nmore", UserWarning, stacklevel=1)
            inside.wait(20)
        found[number] = texts

    threads = [threading.Thread(target=fit, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert found == {n: [f"{n}-0", f"{n}-1", f"{n}-2"] for n in range(4)}
    assert warnings.filters == before
    assert warnings.showwarning is shown
