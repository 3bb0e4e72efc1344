"""What `sql` and `sql-server` say before any Spark is started."""

import socket
from pathlib import Path

import pytest

from matchlake.cli.sql import commands
from matchlake.errors import ConfigError, InputError, SandboxError


def test_an_occupied_port_is_reported_with_its_owner(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SandboxError, match=f"Port {port} is taken by .*another --port"):
            commands.sql_server_command(
                port=port, overrides=[f"lakehouse={tmp_path}"], allow_root=True
            )


def test_where_a_catalog_holds_the_tables_there_is_no_server_of_ours() -> None:
    with pytest.raises(ConfigError, match="--env dev has its tables in a catalog"):
        commands.sql_server_command(env="dev", allow_root=True)


def test_the_server_does_not_start_as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with pytest.raises(ConfigError, match=r"could run code as root\. Start it as another user, or"):
        commands.sql_server_command(env="dev")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(ConfigError, match="--env dev has its tables in a catalog"):
        commands.sql_server_command(env="dev")


def test_an_unknown_environment_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No environment 'nowhere'"):
        commands.sql(query="SELECT 1", env="nowhere")
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.sql cannot be read: No such file"):
        commands.sql(file=tmp_path / "nowhere.sql")
    (tmp_path / "latin.sql").write_bytes("SELECT 'ä'".encode("latin-1"))
    with pytest.raises(InputError, match="it is not UTF-8 text"):
        commands.sql(file=tmp_path / "latin.sql")
    with pytest.raises(InputError, match="not both"):
        commands.sql(query="SELECT 1", file=tmp_path / "latin.sql")


@pytest.mark.parametrize("text", ["", "  ", ";", "-- nothing here", "/* nor */ ; -- here"])
def test_a_text_without_a_statement_is_reported(text: str) -> None:
    with pytest.raises(InputError, match="nothing to run: the text is empty, or only a comment"):
        commands.sql(query=text)
