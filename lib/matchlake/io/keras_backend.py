"""Keras with a backend, imported on request."""

import os
from importlib.util import find_spec
from types import ModuleType

from matchlake.errors import ModelError


def import_keras() -> ModuleType:
    """The package keras; on JAX, unless the environment names another backend.

    Raises ModelError if it is not installed.
    """
    if find_spec("keras") is None:
        raise ModelError("Keras is not installed. Install it: pip install keras jax h5py.")
    os.environ.setdefault("KERAS_BACKEND", "jax")
    try:
        import keras  # noqa: PLC0415 - in an environment of its own
    except ImportError as error:
        raise ModelError(f"Keras cannot be imported: {error}. Install its backend.") from None
    found: ModuleType = keras
    return found
