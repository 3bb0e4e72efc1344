"""Finds the cause of the broker's end in its logs."""

import re
from pathlib import Path

_KNOWN = {
    "Address already in use": "its port was taken by another program in the meantime; start again.",
    "No space left on device": "the disk is full; free some, or give a --root on another disk.",
    "Failed to acquire lock": "another broker, perhaps of another machine or container, uses the "
    "same data folder; end that one.",
    "OutOfMemoryError": "its Java memory was too small; give a larger --heap.",
    "Invalid maximum heap size": "--heap is not a size that Java takes, such as 512m or 1g.",
    "Could not reserve enough space": "the machine has less memory than --heap requests.",
}
_ERROR_LINE = re.compile(r"(ERROR|FATAL|Exception|Error:)")


def why_it_ended(home: Path) -> str:
    """One sentence on why the broker of the folder `home` ended, from its last logs."""
    logs = home / "logs"
    lines = [
        line.strip()
        for name in ("console.log", "server.log")
        if (logs / name).is_file()
        for line in (logs / name).read_text(encoding="utf-8", errors="replace").splitlines()
    ]
    for sign, meaning in _KNOWN.items():
        if any(sign in line for line in lines):
            return meaning
    errors = [line for line in lines if _ERROR_LINE.search(line)] or lines
    return f"{errors[-1] if errors else 'its logs are empty'} (logs: {logs})"
