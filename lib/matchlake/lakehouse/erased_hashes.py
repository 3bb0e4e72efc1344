"""The hashes of erased users as a file, for programs without Spark, such as `matchlake serve`."""

import json
from pathlib import Path

from matchlake.config import JobConfig
from matchlake.io.delta import Lakehouse

_NAME = "erased_users.json"


def hash_file(config: JobConfig) -> Path | None:
    """The file; None if conf names none and there is no local folder."""
    if config.erase.hash_file is not None:
        return Path(config.erase.hash_file)
    return Path(config.lakehouse) / _NAME if config.lakehouse else None


def write_hashes(config: JobConfig, lakehouse: Lakehouse) -> None:
    """Writes the hashes of all erased users, in place of an earlier file. One Spark job."""
    path, erased = hash_file(config), lakehouse.erased_users()
    if path is None or erased is None:
        return
    content = {"salt_id": erased.salt.id, "hashes": sorted(erased.hashes)}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(content), encoding="utf-8")
    partial.replace(path)
