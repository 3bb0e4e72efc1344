"""The process in which a function fits its model; `own_process` starts it."""

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from matchlake.errors import MatchlakeError
from matchlake.formulas.heads import Head
from matchlake.learners.own_process import DATA, REQUEST, RESULT
from matchlake.learners.protocol import TrainingData


def main() -> None:
    """Reads the request in the folder of the last argument, and calls its function.

    `main` writes the head, or the error, into the folder.
    """
    folder = Path(sys.argv[-1])
    request = json.loads((folder / REQUEST).read_text(encoding="utf-8"))
    sys.path += [each for each in request["path"] if each not in sys.path]
    try:
        result: dict[str, Any] = {"head": _call(folder, request)}
    except MatchlakeError as error:
        result = {"error": str(error)}
    except Exception as error:  # noqa: BLE001 - any error of the user's function
        result = {"error": f"{type(error).__name__}: {error}"}
    (folder / RESULT).write_text(json.dumps(result), encoding="utf-8")


def _call(folder: Path, request: dict[str, Any]) -> dict[str, Any]:
    module, _, name = request["function"].partition(":")
    function = getattr(import_module(module), name)
    with np.load(folder / DATA) as arrays:
        found = {key: arrays[key] for key in arrays.files}
    if request["has_texts"]:
        found["label"] = found["label"].astype(object)
    data = TrainingData(columns=tuple(request["columns"]), **found)
    head = function(data, request["params"], request["seed"])
    if not isinstance(head, Head):
        raise TypeError(
            f"it returned a value of type {type(head).__name__}; it must return a head of "
            "matchlake.formulas.heads, such as LinearHead"
        )
    return head.model_dump()
