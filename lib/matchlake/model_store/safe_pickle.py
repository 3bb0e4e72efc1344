"""Reads a pickled model without running what a foreign pickle names."""

import pickle
from pathlib import Path
from typing import IO, Any

from matchlake.errors import ModelError
from matchlake.model_store.scoring_model import ScoringModel

_ALLOWED = {
    ("builtins", "set"),
    ("builtins", "frozenset"),
    ("pydantic_core._pydantic_core", "PydanticUndefined"),
}


class _ModelUnpickler(pickle.Unpickler):
    """An unpickler that knows the classes of models alone."""

    def find_class(self, module: str, name: str) -> Any:
        """A parameter class of this package; raises UnpicklingError for anything else."""
        from matchlake.params import Params  # noqa: PLC0415

        if (module, name) in _ALLOWED:
            return super().find_class(module, name)
        if module.startswith("matchlake."):
            found = super().find_class(module, name)
            if isinstance(found, type) and issubclass(found, Params):
                return found
        raise pickle.UnpicklingError(f"{module}.{name} is not part of a model")


def load_pickle(stream: IO[bytes], path: Path) -> ScoringModel:
    """The pickled model; raises ModelError for anything else."""
    try:
        model = _ModelUnpickler(stream).load()
    except Exception as error:  # noqa: BLE001 - a damaged pickle raises errors of any kind
        raise ModelError(f"{path} is no pickled model: {error}.") from None
    if not isinstance(model, ScoringModel):
        raise ModelError(f"{path} is no pickled model, but a {type(model).__name__}.")
    # Classes are made without validation by pickle.
    return ScoringModel.from_json(model.to_json())
