"""`matchlake init`: a project whose conf and bundle are right, and which runs on its own data."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from matchlake.cli.main import app
from matchlake.config import environments, load_config
from matchlake.dev.bundle.check import check_bundle
from matchlake.dev.init import shipped
from matchlake.dev.init.project import Example, Pipeline, create_project
from matchlake.errors import ConfigError, SandboxError
from matchlake.lakehouse.job_order import job_order


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("projects") / "my-shop"
    create_project(folder, Example.SHOP, None)
    return folder


def test_conf_of_every_environment_is_valid_and_short(shop: Path) -> None:
    assert environments(shop / "conf") == ["dev", "local", "prod", "staging"]
    for env in environments(shop / "conf"):
        config = load_config(env, conf_dir=shop / "conf")
        assert (list(config.streams), list(config.lake.sources)) == (["orders"], ["products"])
    assert config.catalog == "my_shop_staging"
    assert len((shop / "conf" / "base.yml").read_text().splitlines()) <= 40


def test_bundle_has_no_problem_in_any_target(shop: Path) -> None:
    for checked in check_bundle(shop):
        assert [str(each) for each in checked.problems] == []


def test_nothing_names_the_data_set_of_the_demo(shop: Path) -> None:
    texts = {path: path.read_text() for path in shop.rglob("*") if path.is_file()}
    assert [path for path, text in texts.items() if "{{project}}" in text] == []
    words = ("rating_events", "bronze.users", "movielens", "matchlake_dev", "conf/demo")
    ours = {path: text for path, text in texts.items() if path.suffix in (".yml", ".sql", ".md")}
    found = [(path.name, word) for path, text in ours.items() for word in words if word in text]
    assert found == []


def test_samples_fit_the_declared_columns(shop: Path) -> None:
    config = load_config("local", conf_dir=shop / "conf")
    *orders, broken = (shop / "samples" / "orders.jsonl").read_text().splitlines()
    assert {frozenset(json.loads(line)) for line in orders} == {
        frozenset(config.streams["orders"].columns)
    }
    assert "item_id" not in broken
    header = (shop / "samples" / "lake" / "products.csv").read_text().partition("\n")[0]
    assert header.split(",") == list(config.lake.sources["products"].columns)


def test_every_job_of_the_flow_has_its_script(shop: Path) -> None:
    order = job_order(load_config("local", conf_dir=shop / "conf"))
    assert {name for name in order if not (shop / "jobs" / f"{name}.py").is_file()} == set()


@pytest.mark.parametrize(
    ("pipeline", "file"),
    [
        (Pipeline.GITHUB, ".github/workflows/matchlake.yml"),
        (Pipeline.AZURE_DEVOPS, "azure-pipelines.yml"),
    ],
)
def test_pipeline_checks_tests_and_deploys(tmp_path: Path, pipeline: Pipeline, file: str) -> None:
    create_project(tmp_path / "shop", Example.SHOP, pipeline)
    text = (tmp_path / "shop" / file).read_text()
    assert yaml.safe_load(text)
    for command in ("conf check", "bundle check", "matchlake demo", "databricks bundle deploy -t"):
        assert command in text
    assert "{{project}}" not in text
    assert "{{version}}" not in text


def test_movielens_brings_the_demo_and_the_notebooks(tmp_path: Path) -> None:
    create_project(tmp_path / "films", Example.MOVIELENS, None)
    conf = tmp_path / "films" / "conf"
    assert list(load_config("demo", conf_dir=conf).streams) == ["rating_events"]
    assert load_config("local", conf_dir=conf).streams == {}
    assert list((tmp_path / "films" / "notebooks").glob("*.py"))
    for checked in check_bundle(tmp_path / "films"):
        assert [str(each) for each in checked.problems] == []


def test_an_existing_folder_and_a_bad_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    with pytest.raises(ConfigError, match=r"shop exists already: choose another name"):
        create_project(tmp_path / "shop", Example.SHOP, None)
    for name in ("Shop", "9shop", "my shop", "s" * 64):
        with pytest.raises(ConfigError, match="is not a valid name of a project"):
            create_project(tmp_path / name, Example.SHOP, None)
    assert [path.name for path in tmp_path.iterdir()] == ["shop"]


def test_the_command_says_what_to_do_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["init", "shop"])
    assert done.exit_code == 0, done.output
    assert "cd shop && matchlake demo" in done.output


def test_a_wheel_without_its_files_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = tmp_path / "site-packages" / "matchlake" / "dev" / "init" / "shipped.py"
    monkeypatch.setattr(shipped, "__file__", str(place))
    monkeypatch.setattr(shipped, "_ROOT", "share/nowhere")
    with pytest.raises(SandboxError, match="install its wheel again"):
        shipped.shipped_files()
