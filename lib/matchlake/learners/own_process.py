"""Calls a function that fits a model, in a separate process.

The process ends with the function. So a function that hangs, exits or crashes fails only this
model. The end of the process also frees the framework's threads and memory.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from matchlake.errors import InputError
from matchlake.formulas.heads import AnyHead, Head
from matchlake.learners.protocol import TrainingData, label_text
from matchlake.params import first_problem

DATA, REQUEST, RESULT = "data.npz", "request.json", "result.json"
_HEAD: TypeAdapter[Head] = TypeAdapter(AnyHead)
# Keras reads its backend from the environment when it is imported.
_PROGRAM = (
    "import os; os.environ.setdefault('KERAS_BACKEND', 'jax'); "
    "from matchlake.learners.fit_process import main; main()"
)


def fit_in_own_process(
    function: str, given: tuple[TrainingData, dict[str, Any], int], seconds: float, name: str = ""
) -> Head:
    """Returns the head that `function`, as module:name, returns for (data, params, seed).

    Errors use `name` for the function. Raises InputError if the function cannot be imported,
    raises, does not return a head, or takes longer than `seconds`.
    """
    name = name or function
    with tempfile.TemporaryDirectory(prefix="matchlake-fit-") as place:
        folder = Path(place)
        _write(folder, function, *given)
        try:
            done = subprocess.run(  # noqa: S603 - this interpreter and this package
                [sys.executable, "-c", _PROGRAM, str(folder)], timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired:
            raise InputError(
                f"{name} did not return within {seconds:g} seconds (timeout_seconds), and was "
                "stopped."
            ) from None
        return _read(folder, name, done.returncode)


def _write(
    folder: Path, function: str, data: TrainingData, params: dict[str, Any], seed: int
) -> None:
    arrays, label = {"matrix": data.matrix}, data.label
    has_texts = label is not None and label.dtype.kind == "O"
    if label is not None:
        arrays["label"] = np.array(list(map(label_text, label))) if has_texts else label
    if data.weights is not None:
        arrays["weights"] = data.weights
    np.savez(folder / DATA, **arrays)  # type: ignore[arg-type]
    request = {
        "columns": data.columns,
        "function": function,
        "params": params,
        "seed": seed,
        "has_texts": has_texts,
        "path": [each for each in sys.path if each],
    }
    (folder / REQUEST).write_text(json.dumps(request), encoding="utf-8")


def _read(folder: Path, name: str, code: int) -> Head:
    path = folder / RESULT
    if not path.exists():
        raise InputError(
            f"The process of {name} ended with exit code {code} before it returned a head."
        )
    result = json.loads(path.read_text(encoding="utf-8"))
    if "error" in result:
        raise InputError(f"{name} failed: {result['error']}")
    try:
        return _HEAD.validate_python(result["head"])
    except ValidationError as error:
        raise InputError(
            f"{name} returned a head that is not valid: {first_problem(error)}."
        ) from None
