"""The scan finds a canary in each form and container, so that finding none means something."""

import gzip
from pathlib import Path

import pytest
from tests.support.canaries import CANARY, CONTAINERS, FORMS, plant_canaries
from tests.support.leaks import scan


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_canary_is_found_in_every_form(tmp_path: Path, container: str) -> None:
    for form, value in FORMS.items():
        (tmp_path / form).write_bytes(CONTAINERS[container](value))
        (tmp_path / f"{form} clean").write_bytes(b"nothing of it")
    result = scan([tmp_path], {"canary": CANARY})
    assert result.found["canary"] == {str(tmp_path / form) for form in FORMS}
    assert {Path(path).name for path in result.unread} == (
        set(FORMS) if container.endswith("cut off") else set()
    )


def test_a_canary_in_the_name_of_a_file_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "token=hunter%2F2-hunter"
    folder.mkdir()
    (folder / "part-0").write_text("nothing of it")
    assert set(scan([tmp_path], {"canary": "hunter/2-hunter"}).found) == {"canary"}


def test_files_that_cannot_be_read_to_their_end_are_reported(tmp_path: Path) -> None:
    paths = plant_canaries(tmp_path / "all")
    whole = {path: Path(path).read_bytes() for path in paths}
    result = scan([tmp_path], {"canary": CANARY})
    assert result.found["canary"] == paths
    for path, raw in whole.items():
        if raw.startswith((b"PAR1", b"PK", b"SQLite")):
            middle = len(raw) // 3
            Path(path).write_bytes(raw[:middle] + b"\0" * middle + raw[2 * middle :])
    damaged = scan([tmp_path], {"canary": CANARY})
    assert len(damaged.unread) > len(result.unread)
    assert f"{len(damaged.unread)} not to their end" in damaged.closing_line({"canary": CANARY})


def test_named_files_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "vault.json").write_text(CANARY)
    (tmp_path / "log").write_bytes(gzip.compress(b"fine", mtime=0))
    result = scan([tmp_path], {"canary": CANARY}, skip=[tmp_path / "vault.json"])
    assert (result.files, result.found) == (1, {})
    line = result.closing_line({"canary": CANARY})
    assert line == (
        "leak scan: 1 files, 24 bytes (1 gzip opened, 0 not to their end), "
        "1 planted values, 0 found"
    )
