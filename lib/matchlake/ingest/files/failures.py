"""Keeps the failures of single sources, so that the other sources are loaded first."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from matchlake.errors import MatchlakeError, SchemaError, SourceError
from matchlake.ingest.files.corruption import FAILED, sentence_of

_log = logging.getLogger(__name__)
_AGAIN = "Correct the cause and run the job again; it loads the files that are not loaded yet."


class SourceFailures:
    """The failures of a run, in the order of the sources."""

    def __init__(self) -> None:
        self._errors: list[MatchlakeError] = []

    @contextmanager
    def kept(self, name: str) -> Iterator[None]:
        """Keeps and logs an error of the source `name`. Programming errors are raised."""
        try:
            yield
        except MatchlakeError as error:
            self._keep(name, error)
        except FAILED as error:
            self._keep(name, SourceError(f"{sentence_of(error)} {_AGAIN}"))

    def refuse(self, name: str, refused: Iterable[str]) -> None:
        """Keeps a sentence per file of the source `name` that was not loaded."""
        self._errors += [SchemaError(f"{name}: {each}") for each in refused]

    def raise_kept(self) -> None:
        """Raises the only failure, or a SourceError with one sentence per failure."""
        if not self._errors:
            return
        if len(self._errors) == 1:
            raise self._errors[0]
        listed = "".join(f"\n- {error}" for error in self._errors)
        raise SourceError(f"{len(self._errors)} failures; everything else is loaded:{listed}")

    def _keep(self, name: str, error: MatchlakeError) -> None:
        told = str(error) if str(error).startswith(f"{name}:") else f"{name}: {error}"
        _log.error("%s", told)
        self._errors.append(type(error)(told))
