"""The bar of a fit: drawn on a terminal, silent elsewhere, with the log above it."""

import io
import logging

import pytest
from rich.console import Console

from matchlake.recommender.progress import Progress
from matchlake.training.progress_bar import fit_bar


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_sees_iterations_and_loss(terminal: bool) -> None:  # noqa: FBT001 - a case
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=120)
    handler = logging.StreamHandler(io.StringIO())
    logging.root.addHandler(handler)
    before = handler.stream
    logging.getLogger("matchlake").setLevel(logging.INFO)
    try:
        with fit_bar("refit", 15, console) as tell:
            tell(Progress(5, 15, 0.5, 1234.5))
            tell(Progress(10, 15, 0.5, 1200.25, metric=0.1234))
    finally:
        logging.root.removeHandler(handler)
    assert handler.stream is before
    shown = out.getvalue()
    if terminal:
        assert "refit" in shown
        assert "10/15" in shown
        assert "loss 1200.2, validation 0.1234" in shown
    else:
        assert not shown.strip()
