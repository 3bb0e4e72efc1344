"""What `matchlake sql` does with the server that runs, or that does not."""

import json
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from matchlake.cli.sql import request
from matchlake.cli.sql.request import Request, answered_by_server, conf_time, socket_path


@pytest.fixture(autouse=True)
def own_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A short one: the path of a socket has a limit that pytest's folders can exceed."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setattr(request.tempfile, "gettempdir", lambda: folder)
        yield Path(folder)


@pytest.fixture
def conf(own_folder: Path) -> Path:
    (own_folder / "conf").mkdir()
    (own_folder / "conf" / "base.yml").write_text("{}")
    return own_folder / "conf"


@contextmanager
def serving(path: Path, *lines: str) -> Iterator[list[str]]:
    """A server that answers one request with these lines; what it was asked."""
    asked: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        server.listen()

        def answer() -> None:
            link, _ = server.accept()
            with link, link.makefile("rw") as file:
                asked.append(file.readline())
                file.write("".join(f"{line}\n" for line in lines))

        thread = Thread(target=answer)
        thread.start()
        yield asked
        thread.join(10)


def question(conf: Path) -> Request:
    return Request("SELECT 1", "csv", None, 0, conf_time(conf))


def test_without_a_server_there_is_no_answer(conf: Path) -> None:
    assert answered_by_server(conf, "local", question(conf)) is None


def test_answer_is_printed_with_its_errors_and_exit_code(
    conf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = socket_path(conf, "local")
    assert path is not None
    lines = ('{"accepted": true}', '{"out": "a\\n1\\n"}', '{"err": "error: x\\n"}', '{"code": 1}')
    with serving(path, *lines) as asked:
        assert answered_by_server(conf, "local", question(conf)) == 1
    assert json.loads(asked[0])["text"] == "SELECT 1"
    assert capsys.readouterr() == ("a\n1\n", "error: x\n")
    assert answered_by_server(conf, "other", question(conf)) is None, "of another environment"


@pytest.mark.parametrize("line", ['{"accepted": false}', "", "no json"])
def test_a_server_with_an_older_conf_or_none_is_not_used(conf: Path, line: str) -> None:
    path = socket_path(conf, "local")
    assert path is not None
    with serving(path, line):
        assert answered_by_server(conf, "local", question(conf)) is None


def test_a_server_that_ends_early_is_an_error(
    conf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = socket_path(conf, "local")
    assert path is not None
    with serving(path, '{"accepted": true}', '{"out": "a\\n"}'):
        assert answered_by_server(conf, "local", question(conf)) == 1
    assert "ended before its answer was complete" in capsys.readouterr().err


def test_a_folder_that_others_can_write_is_not_used(conf: Path) -> None:
    path = socket_path(conf, "local")
    assert path is not None
    assert path.parent.stat().st_mode & 0o777 == 0o700
    path.parent.chmod(0o777)
    assert socket_path(conf, "local") is None


def test_a_socket_with_too_long_a_path_is_not_used(
    monkeypatch: pytest.MonkeyPatch, conf: Path, own_folder: Path
) -> None:
    assert socket_path(conf, "local") is not None
    deep = own_folder / ("d" * 90)
    deep.mkdir()
    monkeypatch.setattr(request.tempfile, "gettempdir", lambda: str(deep))
    assert socket_path(conf, "local") is None
