"""The demo's own words on a small slice: what it publishes, reads, learns and shows; twice."""

import re
from pathlib import Path

import pytest
from tests.support.programs import run_program

RATINGS = 4000


def demo(folder: Path) -> str:
    done = run_program("matchlake", "demo", "--ratings", str(RATINGS), cwd=folder)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return re.sub(r"\s+", " ", done.stdout)


@pytest.mark.timeout(900)
def test_the_demo_runs_end_to_end(tmp_path: Path) -> None:
    page = demo(tmp_path)
    assert "4,300 published now, 0 were there already" in page
    assert "Records in the topic 4,300 = good 4,033 + quarantined 267 (reconciled)" in page
    assert "silver.interactions 4,000" in page
    assert re.search(r"champion 0\.\d{4}", page)
    assert "matchlake sql" in page


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_second_demo_publishes_and_ingests_nothing(tmp_path: Path) -> None:
    demo(tmp_path)
    page = demo(tmp_path)
    assert "0 published now, 4,300 were there already" in page
    assert "Records in the topic 4,300 = good 4,033 + quarantined 267 (reconciled)" in page
