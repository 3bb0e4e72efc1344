"""`matchlake init shop` and `matchlake demo`: from nothing to recommendations on its own events."""

from pathlib import Path

import pytest
from tests.support.programs import run_program


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_new_project_ends_with_recommendations(tmp_path: Path) -> None:
    made = run_program("matchlake", "init", "shop", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    shop = tmp_path / "shop"
    for sent, there in ((5_001, 0), (0, 5_001)):
        done = run_program("matchlake", "demo", cwd=shop)
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
        assert f"{sent:,} messages sent, {there:,} were there already" in done.stdout
        assert "5,001 records = 5,000 valid + 1 quarantined" in done.stdout
        assert "champion" in done.stdout + done.stderr  # the second one is no better
        assert "Traceback" not in done.stderr
    query = "SELECT count(*) AS n FROM gold.recommendations"
    asked = run_program("matchlake", "sql", query, "--format", "csv", cwd=shop)
    assert asked.returncode == 0, asked.stderr
    assert int(asked.stdout.split()[1]) > 1000
