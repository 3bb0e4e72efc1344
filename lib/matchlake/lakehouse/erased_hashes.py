"""The hashes of erased users as a file, for programs without Spark, such as `matchlake serve`."""

import json

from matchlake.config import JobConfig
from matchlake.io.delta import Lakehouse


def write_hashes(config: JobConfig, lakehouse: Lakehouse) -> None:
    """Writes the hashes of all erased users, in place of an earlier file. One Spark job."""
    path, erased = config.hash_file, lakehouse.erased_users()
    if path is None or erased is None:
        return
    content = {"salt_id": erased.salt.id, "hashes": sorted(erased.hashes)}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(content), encoding="utf-8")
    partial.replace(path)
