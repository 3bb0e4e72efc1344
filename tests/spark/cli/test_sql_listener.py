"""A running `sql-server` answers `matchlake sql` as a session of its own would."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from tests.support.lakes import forget_tables, small_lake
from tests.support.sources import ROOT

from matchlake.cli.sql import request
from matchlake.cli.sql.analyst import Analyst
from matchlake.cli.sql.listener import listening
from matchlake.cli.sql.request import Request, answered_by_server, conf_time

pytestmark = pytest.mark.local_only


@pytest.fixture
def conf(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "conf"
    shutil.copytree(ROOT / "conf", folder)
    lake, config = small_lake(spark, tmp_path / "lake")
    with tempfile.TemporaryDirectory(dir="/tmp") as short:  # the path of a socket has a limit
        monkeypatch.setattr(request.tempfile, "gettempdir", lambda: short)
        with listening(Analyst(lake, config.model_copy(update={"conf_dir": folder}))):
            yield folder
        monkeypatch.undo()
    forget_tables(spark)


def test_server_answers_refuses_and_steps_back(
    conf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def ask(text: str, style: str = "csv", limit: int | None = None) -> int | None:
        return answered_by_server(conf, "demo", Request(text, style, limit, 0, conf_time(conf)))

    assert ask("SELECT count(*) AS n FROM silver.interactions; SELECT 1 AS one") == 0
    assert capsys.readouterr().out == "n\n1600\none\n1\n"
    assert ask("SELECT user_id FROM silver.interactions", "json", 1) == 0
    assert "only the first 1 rows" in capsys.readouterr().err
    assert ask("SELECT 1 AS one", "table") == 0
    assert "(1 row)" in capsys.readouterr().out
    assert ask("DROP TABLE silver.interactions") == 1
    assert "`matchlake sql` only reads" in capsys.readouterr().err
    (conf / "demo.yml").write_text((conf / "demo.yml").read_text() + "\n")
    (conf / "demo.yml").touch()
    assert ask("SELECT 1") is None, "conf is newer than the server"
