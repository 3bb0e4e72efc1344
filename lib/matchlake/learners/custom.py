"""A Python function of the user that returns a head, called in a process of its own.

The process ends with the function, so that one that hangs, exits or crashes is an error of this
model alone.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from matchlake.errors import InputError
from matchlake.formulas.heads import AnyHead, Head, Task
from matchlake.learners.params import CustomParams
from matchlake.learners.protocol import OnProgress, TrainingData, label_text

DATA, REQUEST, RESULT = "data.npz", "request.json", "result.json"
_HEAD: TypeAdapter[Head] = TypeAdapter(AnyHead)


def fit(
    data: TrainingData,
    params: CustomParams,
    task: Task,
    seed: int,
    on_progress: OnProgress | None = None,
) -> Head:
    """Calls the function with (data, params, seed) and returns its head.

    Raises InputError if the function cannot be imported, raises, returns no head, or takes longer
    than `timeout_seconds`.
    """
    del task, on_progress
    with tempfile.TemporaryDirectory(prefix="matchlake-custom-") as place:
        folder = Path(place)
        _write(folder, data, params, seed)
        command = [sys.executable, "-m", "matchlake.learners.custom_process", str(folder)]
        try:
            done = subprocess.run(  # noqa: S603 - this interpreter and this package
                command, timeout=params.timeout_seconds, check=False
            )
        except subprocess.TimeoutExpired:
            raise InputError(
                f"{params.function} did not return within {params.timeout_seconds:g} seconds "
                "(timeout_seconds), and was stopped."
            ) from None
        return _read(folder, params.function, done.returncode)


def _write(folder: Path, data: TrainingData, params: CustomParams, seed: int) -> None:
    arrays = {"matrix": data.matrix}
    kinds = {}
    for name in ("label", "groups", "times", "weights"):
        values = getattr(data, name)
        if values is not None:
            kinds[name] = values.dtype.kind == "O"
            arrays[name] = np.array(list(map(label_text, values))) if kinds[name] else values
    np.savez(folder / DATA, **arrays)  # type: ignore[arg-type]
    request = {
        "columns": data.columns,
        "function": params.function,
        "params": params.params,
        "seed": seed,
        "objects": [name for name, is_object in kinds.items() if is_object],
        "path": [each for each in sys.path if each],
    }
    (folder / REQUEST).write_text(json.dumps(request), encoding="utf-8")


def _read(folder: Path, function: str, code: int) -> Head:
    path = folder / RESULT
    if not path.exists():
        raise InputError(
            f"The process of {function} ended with exit code {code} before it returned a head."
        )
    result = json.loads(path.read_text(encoding="utf-8"))
    if "error" in result:
        raise InputError(f"{function} failed: {result['error']}")
    try:
        return _HEAD.validate_python(result["head"])
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        location = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"{function} returned a head that is not valid: {location}: {first['msg']}."
        ) from None
