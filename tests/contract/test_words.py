"""Words that users had to look up are refused on pages, in help texts, in conf and in comments."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.sources import LIB, ROOT

from matchlake.config import JobConfig, load_config
from matchlake.lakehouse.table_registry import declared_tables

# Conf keys, options, commands, tables, columns, metrics and public names, refused as they stand.
IDENTIFIERS = frozenset(
    """
    clean_events describe_tables gold.descriptions governance.sql --adopt --new-identity
    new_identity ingest.prove reconcile_seconds new_columns max_offsets_per_batch
    max_bad_share late_after good_view cloud_files registry_patience flag_nulls drop_first
    feature_weights hu-koren one-task cut_every compact_loss history_limit smallest_pool inside_90
    log_density look_back_seconds known_at label_time --mentions --against --pictures fit_with_cuts
    run_cuts join_as_of IdentityError fit_item_knn load_numpy_model
    """.split()  # noqa: SIM905 - one name per line would be a page
)
# Words of prose, refused wherever a user reads.
PROSE = frozenset(
    """
    prove proves proved proven proof proofs laptop laptops taste tastes station stations scene
    scenes he him his whoever thereby whereof ledger
    """.split()  # noqa: SIM905 - one name per line would be a page
)
PAGES = sorted(
    {
        *ROOT.glob("*.md"),
        *ROOT.glob("*/README.md"),
        *LIB.rglob("README.md"),
        *ROOT.glob("tests/*/README.md"),
    }
)
CONF = [
    *sorted(ROOT.glob("conf/**/*.yml")),
    ROOT / "databricks.yml",
    *sorted(ROOT.glob("jobs/*.yml")),
]
_TOKEN = re.compile(r"--[a-z][a-z-]*|[A-Za-z_][\w.-]*\w|\w")


def refused(text: str) -> list[str]:
    """The old identifiers and words in a text."""
    tokens = set(_TOKEN.findall(text))
    names = tokens | {part for token in tokens for part in re.split(r"[./]", token)}
    words = set(re.findall(r"[a-z]+", text.lower()))
    return sorted((IDENTIFIERS & names) | (PROSE & words))


@pytest.mark.parametrize("path", [*PAGES, *CONF], ids=lambda path: str(path.relative_to(ROOT)))
def test_pages_and_conf_use_the_fields_words(path: Path) -> None:
    assert refused(path.read_text("utf-8")) == []


def test_old_words_are_found() -> None:
    text = "Each run proves it: `--adopt STREAM`, see gold.descriptions and streams.x.good_view."
    assert refused(text) == ["--adopt", "gold.descriptions", "good_view", "proves"]
    assert refused("improved, approves, other, target, schedule") == []


def test_conf_keys_are_the_fields_words() -> None:
    found = {
        key
        for key in _keys(load_config("demo").model_dump())
        if key in IDENTIFIERS | {"undeclared"}
    }
    assert found == set()
    assert not set(JobConfig.model_fields) & IDENTIFIERS


def _keys(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from _keys(inner)


def test_tables_and_columns_are_the_fields_words() -> None:
    wrong = []
    for spec in declared_tables(load_config("demo")).values():
        texts = [spec.name, spec.comment]
        texts += [text for column in spec.columns for text in (column.name, column.comment)]
        wrong += [f"{spec.name}: {word}" for word in refused("\n".join(texts))]
    assert wrong == []


COMMANDS = (
    "", "run", "reconcile", "replay-quarantine", "erase-user", "streams status", "secrets", "sql",
    "models", "sql-server", "profile", "bundle", "sandbox", "doctor", "demo", "notebooks", "mlflow",
)  # fmt: skip


def test_help_uses_the_fields_words() -> None:
    code = (
        "import sys, contextlib, io\n"
        "from matchlake.cli.main import app\n"
        "for line in sys.argv[1:]:\n"
        "    with contextlib.suppress(SystemExit):\n"
        "        app([*line.split(), '--help'])\n"
    )
    command = [sys.executable, "-c", code, *COMMANDS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.count("Usage:") >= len(COMMANDS)
    assert refused(done.stdout) == []
