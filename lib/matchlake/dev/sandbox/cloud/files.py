"""The stored state of the emulators: JSON files that only their owner can read."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matchlake.io.secrets.local import write_private


class PrivateFile:
    """A JSON object in a private file; several processes may use the file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def changing(self) -> Iterator[dict[str, Any]]:
        """Locks the object for a block. Stores changes if the block ends without an error."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self.path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = self.path.read_text(encoding="utf-8") if self.path.is_file() else "{}"
            data: dict[str, Any] = json.loads(before)
            yield data
            after = json.dumps(data)
            if after != before:
                write_private(self.path, after)
