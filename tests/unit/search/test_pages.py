"""The Python and the conf of the pages on search and selection."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.support.sources import LIB, ROOT

from matchlake.config import load_config
from matchlake.training.model_search import model_search_of

PAGES = {name: (LIB / name / "README.md").read_text("utf-8") for name in ("search", "learners")}


def example(page: str, mark: str) -> dict[str, Any]:
    """The names that the example of a page with `mark` leaves behind."""
    texts = re.findall(r"```python\n(.*?)```", PAGES[page], re.DOTALL)
    [text] = [each for each in texts if mark in each]
    names: dict[str, Any] = {}
    exec(text, names)  # noqa: S102 - our own README
    return names


def test_the_example_of_a_search_gives_its_result() -> None:
    assert example("search", "run_search(")["found"].best.values == {"rank": 16}


def test_the_example_of_a_selection_gives_its_result() -> None:
    assert example("learners", "select_features(")["found"].kept == ("age",)


@pytest.mark.parametrize("page", PAGES)
def test_the_declared_models_can_be_trained(page: str, tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(models:.*?)```", PAGES[page], re.DOTALL)
    shutil.copytree(ROOT / "conf", tmp_path, dirs_exist_ok=True)
    own = "extends: [data/movielens.yml]\nlakehouse: lake\ncheckpoints: checkpoints\n"
    (tmp_path / "mine.yml").write_text(own + text)
    churn = load_config("mine", conf_dir=tmp_path).models["churn"]
    assert (model_search_of(churn) is not None) == (page == "search")


def test_the_command_of_the_page_is_a_valid_search() -> None:
    setting = re.search(r"--set '(train\.search=.*?)'\n", PAGES["search"])
    assert setting is not None
    search = load_config("prod", [setting[1]], ROOT / "conf").train.search
    assert search is not None
    assert search.trial_count == 20
