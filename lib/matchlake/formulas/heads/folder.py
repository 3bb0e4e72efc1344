"""The files of a framework's model, carried inside a head, and the functions that score by them."""

import base64
import binascii
import io
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from matchlake.params import Params

Matrix = npt.NDArray[np.float64]
Scorer = Callable[[Matrix], Any]
"""Takes a matrix (rows, columns) without NaN and gives its scores (rows, scores)."""
Flavor = Literal["keras", "torch", "python"]

LARGEST = 100_000_000
"""The maximum number of characters of a folder in base64."""
LARGEST_UNPACKED = 1_000_000_000
"""The maximum number of bytes of its files."""
KERAS_FILE, TORCH_FILE = "model.keras", "model.pt2"
PACKAGES: dict[Flavor, tuple[str, ...]] = {
    "keras": ("keras", "jax"),
    "torch": ("torch",),
    "python": (),
}
"""The packages that a flavor needs besides its files."""
_FUNCTION = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"
_MARK = "__matchlake_loads_models__"
_LONG_AGO = (1980, 1, 1, 0, 0, 0)


def loads_models(function: Callable[[Path], Scorer]) -> Callable[[Path], Scorer]:
    """Marks a function of the flavor `python` that loads a scorer from a folder.

    Only marked functions are called, so that a model cannot call any other function.
    """
    setattr(function, _MARK, True)
    return function


class Folder(Params):
    """A folder with the files of a framework's model."""

    flavor: Flavor
    """`keras`: model.keras. `torch`: model.pt2 of `torch.export.save`. `python`: any files, which
    the function `loader` reads."""
    loader: str | None = Field(None, pattern=_FUNCTION)
    """Only for the flavor python: the function `module:name`, marked by `loads_models`."""
    content: str = Field(max_length=LARGEST, repr=False)
    """The files as ZIP in base64."""

    @classmethod
    def of(cls, path: Path, flavor: Flavor, loader: str | None = None) -> Self:
        """Returns the files below `path`; the same files give the same bits."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for each in sorted(each for each in path.rglob("*") if each.is_file()):
                entry = zipfile.ZipInfo(each.relative_to(path).as_posix(), _LONG_AGO)
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, each.read_bytes())
        content = base64.b64encode(packed.getvalue()).decode()
        return cls(flavor=flavor, loader=loader, content=content)

    @model_validator(mode="after")
    def _check_content(self) -> Self:
        if (self.loader is None) == (self.flavor == "python"):
            need = "needs a loader" if self.flavor == "python" else "takes no loader"
            raise ValueError(f"the flavor {self.flavor} {need}")
        with self._archive() as archive:
            size = sum(each.file_size for each in archive.infolist())
        if size > LARGEST_UNPACKED:
            raise ValueError(f"the folder has {size} bytes; at most {LARGEST_UNPACKED} are read")
        return self

    def _archive(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(io.BytesIO(base64.b64decode(self.content, validate=True)))
        except (binascii.Error, zipfile.BadZipFile):
            raise ValueError("the folder is not a ZIP file in base64") from None

    @contextmanager
    def unpacked(self) -> Iterator[Path]:
        """Yields a new folder with the files, and removes it at the end of the context."""
        with (
            tempfile.TemporaryDirectory(prefix="matchlake-model-") as place,
            self._archive() as all_,
        ):
            all_.extractall(place)  # skips files whose path leads out of the folder
            yield Path(place)


@lru_cache(maxsize=4)
def scorer_of(folder: Folder) -> Scorer:
    """Returns the function that scores with a folder's model, loaded once per process.

    Raises ValueError if the framework is not installed, or the files are not a valid model.
    """
    with folder.unpacked() as path:
        try:
            if folder.flavor == "python":
                return _python_scorer(folder.loader or "", path)
            return _keras_scorer(path) if folder.flavor == "keras" else _torch_scorer(path)
        except ImportError as error:
            raise ValueError(
                f"a model of the flavor {folder.flavor} needs a package that cannot be imported: "
                f"{error}"
            ) from None


def _python_scorer(name: str, path: Path) -> Scorer:
    module, _, attribute = name.partition(":")
    loader = getattr(import_module(module), attribute, None)
    if not getattr(loader, _MARK, False):
        raise ValueError(f"{name} is not marked by loads_models, so it is not called")
    scorer: Scorer = loader(path)  # type: ignore[misc]
    return scorer


def _keras_scorer(path: Path) -> Scorer:
    import keras  # noqa: PLC0415 - in an environment of its own

    model = keras.models.load_model(path / KERAS_FILE, compile=False, safe_mode=True)
    return lambda matrix: np.asarray(model(matrix.astype(np.float32), training=False))


def _torch_scorer(path: Path) -> Scorer:
    import torch  # noqa: PLC0415 - in an environment of its own

    model = torch.export.load(path / TORCH_FILE).module()

    def score(matrix: Matrix) -> Any:
        with torch.no_grad():
            return model(torch.from_numpy(matrix.astype(np.float32))).numpy()

    return score
