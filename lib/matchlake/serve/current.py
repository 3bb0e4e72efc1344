"""The model in use, and the swap to a new one.

A request uses one model from start to end, so no response mixes two versions. A new model is loaded
and verified while the old model serves. If the new model is refused, the old model stays.
"""

import logging
from collections.abc import Callable
from pathlib import Path

from matchlake.serve.loading import Served, load_served

_log = logging.getLogger(__name__)
POINTER = "current"
"""The pointer: a file in the folder of a registered model with the name of the export to serve."""

Mark = tuple[tuple[int, int, int], ...]


class CurrentModel:
    """The model of an export at `path`, or of the export named by the pointer in `path`.

    `on_change` is called with `swaps`, and with `refusals`: exports that are not served.
    """

    def __init__(self, path: Path, on_change: Callable[[str], None] | None = None) -> None:
        self._path = path
        self._on_change = on_change
        self._mark = self._current_mark()
        self.model: Served = load_served(self.export())

    def export(self) -> Path:
        """Returns the path of the export to serve now."""
        pointer = self._path / POINTER
        if not pointer.is_file():
            return self._path
        return self._path / Path(pointer.read_text(encoding="utf-8").strip()).name

    def refresh(self) -> bool:
        """Loads a changed export and swaps it in.

        Returns whether it did. Blocks during the load.
        """
        mark = self._current_mark()
        if mark == self._mark or not mark:
            return False
        try:
            model = load_served(self.export())
        except Exception as error:  # noqa: BLE001 - no export ends the server
            # If the files changed during the load, the same export is tried again.
            if self._current_mark() == mark:
                self._mark = mark
                _log.error("%s is not served, %s stays: %s", self._path, self.model.version, error)
                self._tell("refusals")
            return False
        if self._current_mark() != mark:
            return False
        before, self.model, self._mark = self.model, model, mark
        _log.warning("%s: version %s replaces %s", model.name, model.version, before.version)
        self._tell("swaps")
        return True

    def _tell(self, what: str) -> None:
        if self._on_change:
            self._on_change(what)

    def _current_mark(self) -> Mark:
        """Returns the files of the export with their times and sizes; empty without files."""
        try:
            export = self.export()
            files = sorted(export.rglob("*")) if export.is_dir() else [export]
            found = [each.stat() for each in files]
        except (OSError, ValueError):
            return ()
        return tuple((each.st_mtime_ns, each.st_size, each.st_ino) for each in found)
