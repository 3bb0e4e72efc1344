"""Figures as Jupyter shows them."""

import sys
from types import SimpleNamespace

import pytest

from matchlake.profiling.plots import make_panels
from matchlake.training.notebook_plots import pairs_of_bars, show_in_jupyter


def test_jupyter_shows_a_figure_as_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[tuple[str, str], object] = {}
    formatter = SimpleNamespace(
        for_type_by_name=lambda module, name, show: known.update({(module, name): show})
    )
    shell = SimpleNamespace(display_formatter=SimpleNamespace(formatters={"image/png": formatter}))
    figure = pairs_of_bars(["a", "b"], {"one": [1, 2], "two": [2, 1]}, "Errors")
    with monkeypatch.context() as jupyter:
        jupyter.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
        show_in_jupyter()
    show = known[type(figure).__module__, type(figure).__name__]
    assert callable(show)
    assert show(make_panels(2)[0]).startswith(b"\x89PNG")


def test_outside_jupyter_nothing_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    show_in_jupyter()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    show_in_jupyter()
