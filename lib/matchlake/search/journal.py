"""The journal of a search: one line per finished trial, on disk before the next trial starts.

The first line identifies the search. A trial is in the journal completely or not at all: if a crash
left a partial line, it is removed when the journal is opened.
"""

import errno
import json
import logging
import os
import uuid
from pathlib import Path

from matchlake.errors import InputError
from matchlake.search.trial import Trial

_log = logging.getLogger(__name__)

_NO_APPEND = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)
"""The errors of a Databricks volume, which cannot append to an existing file."""


class Journal:
    """The finished trials of a search in the file `path`.

    `inputs` identifies all inputs of the search. A search continues only if its inputs are equal.
    """

    def __init__(self, path: Path, inputs: str) -> None:
        self.path = path
        self.search_id = uuid.uuid4().hex
        self.trials: list[Trial] = []
        self._lines = [json.dumps({"search_id": self.search_id, "inputs": inputs})]
        if path.exists() and b"\n" in path.read_bytes():
            self._read(inputs)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._rewrite()

    def add(self, trial: Trial) -> None:
        """Writes a trial; after the return the trial survives a crash of the machine."""
        line = trial.to_json()
        self._lines.append(line)
        try:
            self._append(line)
        except OSError as error:
            if error.errno not in _NO_APPEND:
                raise
            self._rewrite()
        self.trials.append(trial)

    def _append(self, line: str) -> None:
        with self.path.open("ab") as file:
            file.write(f"{line}\n".encode())
            file.flush()
            os.fsync(file.fileno())

    def _rewrite(self) -> None:
        """Writes all lines to a new file, and replaces the old file with it."""
        new = self.path.with_suffix(".new")
        with new.open("wb") as file:
            file.write("".join(f"{line}\n" for line in self._lines).encode())
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        except OSError as error:  # some network file systems cannot sync a folder
            _log.debug("the journal's folder could not be synced: %s", error)
        finally:
            os.close(folder)

    def _read(self, inputs: str) -> None:
        """Reads the trials of an earlier run, without a line that a crash cut off."""
        *lines, rest = self.path.read_bytes().split(b"\n")
        try:
            first = json.loads(lines[0])
        except ValueError:
            first = {}
        if first.get("inputs") != inputs:
            raise InputError(
                f"{self.path} is the journal of another search: the table, the space or the "
                "parameters differ. Remove the file, or start the search without resume."
            )
        self.search_id = first["search_id"]
        self._lines = [lines[0].decode()]
        for number, line in enumerate(lines[1:], 2):
            try:
                self.trials.append(Trial.from_json(line.decode()))
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(
                    f"{self.path}, line {number}, is not a valid trial: {type(error).__name__}. "
                    "Remove the "
                    "file to start the search again."
                ) from None
            self._lines.append(line.decode())
        if rest:
            _log.warning("%s: the incomplete last trial runs again", self.path)
            self._rewrite()
