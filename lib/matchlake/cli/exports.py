"""`matchlake models export` and `matchlake models verify`."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from matchlake.cli.options import ConfDir, Environment, Overrides, time_of
from matchlake.cli.verify_served import verify_served
from matchlake.config import JobConfig, load_config
from matchlake.errors import ModelError, ParameterError
from matchlake.lakehouse.registered_models import RECOMMENDER, chosen_version, tracker_of
from matchlake.lakehouse.user_erasure import HOLDS_ERASED_USER
from matchlake.model_store.export_wheels import INSTALL, write_wheels
from matchlake.model_store.exports import (
    SQL_INPUT,
    discard,
    finish_export,
    verify_export,
    write_export,
)
from matchlake.model_store.forecast_model import FORECAST_FILE
from matchlake.model_store.held_out import typed
from matchlake.model_store.manifest import MANIFEST
from matchlake.model_store.mlflow_flavor import FACTORS
from matchlake.model_store.recommender_export import (
    finish_recommender,
    read_recommender,
    verify_recommender,
    write_recommender,
)
from matchlake.model_store.scoring_folder import (
    MODEL_FILE,
    SCORING,
    load_held_out,
    load_scoring_model,
)
from matchlake.model_store.verified import Verified
from matchlake.model_store.verified_lists import VerifiedLists
from matchlake.schemas import quote_identifier


class Format(StrEnum):
    """What is written."""

    ONNX = "onnx"
    JSON = "json"
    SQL = "sql"
    PICKLE = "pickle"
    H5 = "h5"
    KERAS = "keras"
    FOLDER = "folder"


_PROGRAM = "from matchlake.cli.main import main; main()"
_SECONDS = 600


def export(  # noqa: PLR0913 - the options of a command
    name: Annotated[str, typer.Argument(help="recommender, a model of conf, or a saved folder")],
    *,
    format_: Annotated[Format, typer.Option("--format", help="what is written")],
    to: Annotated[Path, typer.Option(help="the new file or folder")],
    model_version: Annotated[
        str | None, typer.Option("--version", help="default: the champion, else the newest")
    ] = None,
    wheels: Annotated[
        bool, typer.Option("--wheels", help="folder: with the wheels of all packages, by pip")
    ] = False,
    env: Environment = "local",
    overrides: Overrides = None,
    conf_dir: ConfDir = None,
) -> None:
    """Exports a model, and verifies the export in another process before it is in its place.

    The export holds its held-out rows, their expected scores, and the largest difference that was
    found. onnx and json need no Python of this product; sql is one query over `model_input`; folder
    is an MLflow model with its requirements; h5 and keras are a network of Keras, without the
    features. Load a pickle only from a place that you trust.

    The recommender has the formats onnx, the id of a user in, the best items new to the user out,
    and folder: the same graph with the factors of the items, which `matchlake serve` reads.

    For example: matchlake models export churn --format onnx --to churn.onnx
    """
    if to.exists() and not (to.is_dir() and format_ == "folder"):
        raise ModelError(f"{to} exists. Remove it first, or choose another place.")
    if wheels and format_ is not Format.FOLDER:
        raise ParameterError("--wheels is for --format folder.")
    with _folder_of(name, model_version, env, overrides or [], conf_dir) as (folder, number):
        if (folder / FORECAST_FILE).is_file():
            raise ModelError(
                f"{name} is a forecast model, which has no exports: score_model writes its table, "
                "and MLflow loads the registered version as a pyfunc."
            )
        is_scoring = (folder / MODEL_FILE).is_file()
        if is_scoring:
            model, held_out = load_scoring_model(folder), load_held_out(folder)
            add = write_wheels if wheels else None
            partial = write_export(model, held_out, format_.value, to.absolute(), number, add)
        elif wheels:
            raise ParameterError("--wheels is for models of conf: the recommender has none.")
        else:
            partial = write_recommender(folder, _checked(to, format_).absolute(), number)
    finish = finish_export if is_scoring else finish_recommender
    try:
        figures = _verified_elsewhere(partial)
        finish(partial, to.absolute(), figures["largest_difference"])
    except BaseException:
        discard(partial)
        raise
    _console().print(f"{to}: {_sentence(figures)}", highlight=False)
    if wheels:
        _console().print(f"In {to}, without a network: {INSTALL}", highlight=False)


def _checked(to: Path, format_: Format) -> Path:
    """The place of a recommender's export; raises ModelError if its ending does not fit."""
    if format_ not in (Format.ONNX, Format.FOLDER):
        raise ModelError(
            f"A recommender has no format {format_.value}. Use --format onnx or folder."
        )
    if (to.suffix == ".onnx") != (format_ is Format.ONNX):
        rule = "must end in .onnx" if format_ is Format.ONNX else "must not end in .onnx"
        raise ModelError(f"{to.name} {rule}: verify finds the format by it.")
    return to


def verify(
    path: Annotated[
        Path | None, typer.Argument(help="a file or folder that `models export` wrote")
    ] = None,
    *,
    served: Annotated[
        str | None,
        typer.Option(metavar="SINCE", help="instead: the logged answers since a time in UTC"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the figures as JSON")] = False,
    env: Environment = "local",
    overrides: Overrides = None,
    conf_dir: ConfDir = None,
) -> None:
    """Scores the rows inside an export again; exits with 1 if it was changed or scores otherwise.

    With --served, Spark scores the answers of `matchlake serve` in bronze.prediction_events again,
    and exits with 1 if one differs.

    An export needs no conf and no MLflow server. A query needs Spark. A folder runs its own code:
    verify one only from a place that you trust.

    For example: matchlake models verify churn.onnx
    """
    if (path is None) == (served is None):
        raise ModelError("Name either an export, or a time: --served 2026-05-01T12:00.")
    if path is None:
        verify_served(load_config(env, overrides or [], conf_dir), time_of(served or ""))
        return
    verified: Verified | VerifiedLists
    exported = read_recommender(path)
    if exported is not None:
        verified, difference = verify_recommender(path, exported)
    else:
        verified, difference = verify_export(path, _run_sql)
    figures = {
        "rows": verified.rows,
        "compared": "lists" if isinstance(verified, VerifiedLists) else "held-out rows",
        "largest_difference": difference,
        "tolerance": verified.tolerance,
        "sha256": verified.sha256,
    }
    if as_json:
        typer.echo(json.dumps(figures))
        return
    _console().print(f"{path}: {_sentence(figures)}", highlight=False)


def _sentence(figures: Mapping[str, Any]) -> str:
    return (
        f"{figures['rows']} {figures['compared']}, largest difference "
        f"{figures['largest_difference']:.3g} ({figures['tolerance']:g} allowed)"
    )


def _console() -> Console:
    return Console(soft_wrap=True)


def _verified_elsewhere(path: Path) -> dict[str, Any]:
    """The figures of `models verify` in another process; raises ModelError if it fails."""
    command = [sys.executable, "-c", _PROGRAM, "models", "verify", str(path), "--json"]
    try:
        done = subprocess.run(  # noqa: S603 - this program itself
            command, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise ModelError(f"The export was not verified within {_SECONDS} seconds.") from None
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2].removeprefix("error: ")
        reason = last or f"exit code {done.returncode}"
        raise ModelError(f"The export is refused: {reason}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


@contextmanager
def _folder_of(
    name: str, version: str | None, env: str, overrides: list[str], conf_dir: Path | None
) -> Iterator[tuple[Path, str | None]]:
    """The folder with a model and its held-out rows, until the context ends, and its version."""
    if any((Path(name) / file).is_file() for file in (MODEL_FILE, MANIFEST)):
        yield Path(name), None
        return
    config = load_config(env, overrides, conf_dir)
    tracker = tracker_of(config, name)
    path = FACTORS if name == RECOMMENDER else SCORING
    chosen = chosen_version(tracker, name, version)
    if HOLDS_ERASED_USER in chosen.tags:
        raise ModelError(
            f"Version {chosen.version} of {name} holds an erased user, so it is not exported. "
            "Train the model again."
        )
    with tracker.files(chosen, f"artifacts/{path}") as folder:
        yield folder, chosen.version


def _run_sql(query: str, verified: Verified) -> Mapping[str, Any]:
    """The columns of a query over the rows of a comparison, by Spark on this machine."""
    from matchlake.cli.launch import SPARK_ERRORS, start_quietly  # noqa: PLC0415 - brings Spark, seconds

    names = list(verified.types)
    columns = [[typed(v, verified.types[n]) for v in verified.inputs[n]] for n in names]
    schema = ", ".join(f"{quote_identifier(n)} {verified.types[n]}" for n in names)
    with tempfile.TemporaryDirectory(prefix="matchlake-verify-") as folder:
        config = JobConfig(env="local", lakehouse=folder, checkpoints=f"{folder}/checkpoints")
        spark = start_quietly(config, "models verify").spark
        try:
            rows = spark.createDataFrame(list(zip(*columns, strict=True)), schema)
            rows.coalesce(1).createOrReplaceTempView(SQL_INPUT)
            found = spark.sql(query).collect()
        except SPARK_ERRORS as error:
            reason = str(error).partition("\n")[0]
            raise ModelError(f"Spark cannot run this query: {reason}") from None
        finally:
            spark.stop()
    return {name: [row[name] for row in found] for name in verified.expected}
