"""Runs a script in R, which reads the rows as CSV and writes a head as JSON."""

import csv
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from matchlake.errors import InputError, ParameterError
from matchlake.formulas.heads import AnyHead, Head, Task
from matchlake.learners.params import RParams
from matchlake.learners.protocol import OnProgress, TrainingData, class_codes, label_text
from matchlake.params import first_problem

ROWS_FILE, REQUEST_FILE, HEAD_FILE = "rows.csv", "request.json", "head.json"
LABEL = "label"
LARGEST_HEAD = 200_000_000
"""The maximum size of a head as JSON, in bytes."""
_HEAD: TypeAdapter[Head] = TypeAdapter(AnyHead)
_LINES = 5


def fit(
    data: TrainingData,
    params: RParams,
    task: Task,
    seed: int,
    on_progress: OnProgress | None = None,
) -> Head:
    """Runs `Rscript SCRIPT FOLDER` and returns the head of FOLDER/head.json.

    FOLDER has rows.csv, with the columns x1, x2, ... and label. Numbers have 17 digits, and NA
    means missing. FOLDER/request.json has seed, task, params, labels (the classes, or null),
    columns (x1, x2, ...), and features (their names).

    Raises ParameterError if R or the script is missing. Raises InputError if the script fails,
    takes too long, or does not write a valid head.
    """
    del on_progress
    program = shutil.which(params.program)
    if program is None:
        raise ParameterError(
            f"Trainer r needs {params.program}, which is not installed. Install R where the job "
            "runs, such as the package r-base-core."
        )
    if not Path(params.script).is_file():
        raise ParameterError(
            f"script is {params.script}, but this file does not exist where the job runs."
        )
    labels = class_codes(np.asarray(data.label))[1] if task == "classification" else None
    if "NA" in (labels or ()):
        raise InputError('R reads the label "NA" as missing. Rename this class, in a view.')
    with tempfile.TemporaryDirectory(prefix="matchlake-r-") as place:
        folder = Path(place)
        request = {"seed": seed, "task": task, "params": params.params, "labels": labels}
        _write(folder, data, request)
        _run([program, "--vanilla", str(Path(params.script).resolve()), place], params)
        return _head(folder / HEAD_FILE, params.script, data)


def _write(folder: Path, data: TrainingData, request: dict[str, Any]) -> None:
    names = [f"x{i + 1}" for i in range(len(data.columns))]
    with (folder / ROWS_FILE).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*names, *([LABEL] if data.label is not None else [])])
        labels = [] if data.label is None else [[_cell(each)] for each in data.label.tolist()]
        for i, row in enumerate(data.matrix.tolist()):
            writer.writerow([*map(_cell, row), *(labels[i] if labels else [])])
    request |= {"features": data.columns, "columns": names}
    (folder / REQUEST_FILE).write_text(json.dumps(request), encoding="utf-8")


def _cell(value: Any) -> str:
    """Returns a number with all its digits, or the name of a class."""
    if not isinstance(value, float):
        return label_text(value)
    if np.isnan(value):
        return "NA"
    return repr(value) if np.isfinite(value) else "Inf" if value > 0 else "-Inf"


def _run(command: list[str], params: RParams) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - the program and the script that conf names
            command,
            timeout=params.timeout_seconds,
            capture_output=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise InputError(
            f"{params.script} did not end within {params.timeout_seconds:g} seconds "
            "(timeout_seconds), and was stopped."
        ) from None
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()[-_LINES:]
        raise InputError(
            f"{params.script} failed with exit code {done.returncode}: {' | '.join(lines)}"
        )


def _head(path: Path, script: str, data: TrainingData) -> Head:
    if not path.is_file():
        raise InputError(f"{script} ended without writing {HEAD_FILE} into its folder.")
    if path.stat().st_size > LARGEST_HEAD:
        raise InputError(f"{script} wrote a head of more than {LARGEST_HEAD} bytes.")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(values, dict):
            values.setdefault("columns", data.columns)
        return _HEAD.validate_python(values)
    except ValidationError as error:
        reason = first_problem(error)
    except (ValueError, RecursionError) as error:
        reason = str(error).partition("\n")[0]
    raise InputError(f"{script} wrote a head that is not valid: {reason}.") from None
