"""Stand-ins for what the sandbox finds on a machine."""

import json
from pathlib import Path


def fake_java(folder: Path, answer: str, code: int = 0) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "java").write_text(f"#!/bin/sh\necho '{answer}' >&2\nexit {code}\n")
    (folder / "java").chmod(0o755)


def leave_state(root: Path, **changes: object) -> None:
    state = {"phase": "running", "port": 21_000, "controller_port": 21_001, "started": 1.0}
    (root / "kafka").mkdir(parents=True)
    (root / "kafka" / "state.json").write_text(json.dumps({**state, **changes}))


def shutil_usage(free: int) -> object:
    return type("Usage", (), {"free": free, "total": 10**12, "used": 10**12 - free})()
