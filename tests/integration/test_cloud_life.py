"""The stand-ins' process: it outlives its starter, is started once, and takes its data up again."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from matchlake.dev.sandbox.cloud.process import find_cloud, start_cloud, stop_cloud
from matchlake.dev.sandbox.services import sandbox_login
from matchlake.errors import SandboxError
from matchlake.io.secrets import SecretRef, SecretsParams, secret_chain

REF = SecretRef(scope="matchlake", key="kafka-password")
STORES = SecretsParams(stores=("databricks",))


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "lake"
    stop_cloud(tmp_path / "lake")


def test_its_state_survives_stop_and_kill(root: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(start_cloud, [root, root])
    assert first == second, "two starts at once make one"
    password = sandbox_login(root).password
    assert len(password.reveal()) >= 32
    assert secret_chain(STORES, str(root)).get(REF) == password
    process = find_cloud(root)
    assert process is not None
    assert str(first.token) not in " ".join(process.cmdline())
    process.kill()
    process.wait(10)
    again = start_cloud(root)
    assert again.token == first.token
    assert sandbox_login(root).password == password
    assert secret_chain(STORES, str(root)).get(REF) == password
    assert stop_cloud(root)
    assert not stop_cloud(root)
    assert find_cloud(root) is None


def test_the_error_of_an_unreadable_state_names_the_file_to_delete(root: Path) -> None:
    (root / "cloud").mkdir(parents=True)
    (root / "cloud" / "state.json").write_text("{")
    with pytest.raises(SandboxError, match=r"state\.json cannot be read: delete it"):
        start_cloud(root)


def test_a_root_that_cannot_be_a_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SandboxError, match="The sandbox cannot use"):
        start_cloud(tmp_path / "file")
