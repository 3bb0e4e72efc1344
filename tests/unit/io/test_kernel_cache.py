"""The folder of compiled kernels is its owner's alone."""

from pathlib import Path

import pytest

from matchlake.errors import ConfigError
from matchlake.io.kernel_cache import require_private_cache


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777])
def test_a_folder_that_others_can_write_to_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    tmp_path.chmod(mode)
    with pytest.raises(ConfigError, match=rf"others can write to it \(mode {mode:o}\)"):
        require_private_cache()


def test_a_folder_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    owner = tmp_path.stat().st_uid
    monkeypatch.setattr("os.getuid", lambda: owner + 1)
    with pytest.raises(ConfigError, match=f"it belongs to user {owner}.*Choose a folder of your"):
        require_private_cache()


def test_a_folder_of_ones_own_a_missing_one_and_none_are_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for named in (str(tmp_path), str(tmp_path / "none"), ""):
        monkeypatch.setenv("NUMBA_CACHE_DIR", named)
        require_private_cache()
