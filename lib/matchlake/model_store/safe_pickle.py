"""Reads a pickled model without running functions that an unsafe pickle names."""

import pickle
from pathlib import Path
from typing import IO, Any

from matchlake.errors import ModelError
from matchlake.model_store.scoring_model import ScoringModel, model_from_json


class _ModelUnpickler(pickle.Unpickler):
    """An unpickler that allows only one function, which reads a model from its JSON."""

    def find_class(self, module: str, name: str) -> Any:
        """Returns `model_from_json`; raises UnpicklingError for any other name."""
        if (module, name) == (model_from_json.__module__, model_from_json.__name__):
            return model_from_json
        raise pickle.UnpicklingError(f"{module}.{name} is not part of a model")


def load_pickle(stream: IO[bytes], path: Path) -> ScoringModel:
    """Reads a pickled model; raises ModelError for any other pickle."""
    try:
        model = _ModelUnpickler(stream).load()
    except Exception as error:  # noqa: BLE001 - a damaged pickle raises errors of any kind
        raise ModelError(f"{path} is not a pickled model: {error}.") from None
    if not isinstance(model, ScoringModel):
        raise ModelError(f"{path} is not a pickled model, but a {type(model).__name__}.")
    return model
