"""The page of words: each of its commands exists, with the job or the target that it names."""

import re
import shlex

import pytest
from tests.support.sources import ROOT

from matchlake.cli.main import LOCAL, PRODUCTION
from matchlake.deploy.render import Target

PAGE = (ROOT / "lib" / "matchlake" / "README.md").read_text("utf-8")
COMMANDS = re.findall(r"\| `(matchlake [^`]+)` \|", PAGE)


def test_every_row_has_a_command() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(COMMANDS) > 15


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_exists(command: str) -> None:
    _, name, *arguments = shlex.split(command)
    assert name in {"run", *(each.name for each in (*PRODUCTION, *LOCAL))}
    if name == "run":
        assert (ROOT / "jobs" / f"{arguments[0]}.py").is_file()
    if "--target" in arguments:
        assert arguments[arguments.index("--target") + 1] in list(Target)
