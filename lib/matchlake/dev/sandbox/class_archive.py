"""Makes an archive of the classes that Spark loads: a local session then starts in half the time.

Java writes the archive when a session ends, and reads it if the same jars are there. Without it,
or with another Java, sessions start as usual.
"""

import subprocess
import sys
import time

from matchlake.dev.sandbox.process import find_process
from matchlake.errors import SandboxError
from matchlake.runtime import archive_option, class_archive

_WAIT_SECONDS = 120.0
# A session that reads and writes a Delta table, so that the classes of both are in the archive.
_SESSION = """
import sys, tempfile
from matchlake.config import JobConfig
from matchlake.runtime import quick_to_start, start
with tempfile.TemporaryDirectory() as folder:
    config = JobConfig(env="local", lakehouse=folder, checkpoints=folder)
    spark = start(quick_to_start(config, sys.argv[1]), "classes").spark
    table = f"delta.`{folder}/table`"
    spark.range(10).selectExpr("id", "concat('a', id) AS name").write.format("delta").save(
        f"{folder}/table"
    )
    spark.sql(f"SELECT name, count(*) FROM {table} GROUP BY name ORDER BY name").collect()
    spark.stop()
"""


def make_class_archive() -> bool:
    """Makes the archive of this environment, if it is missing; returns whether it did.

    Raises SandboxError if no session starts.
    """
    path = class_archive()
    if path.is_file():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    option = archive_option(path, write=True)
    command = [sys.executable, "-c", _SESSION, option]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no output"]
        raise SandboxError(f"No archive of classes was made: {lines[-1]}")
    # Java writes the archive after the session's program has ended.
    deadline = time.monotonic() + _WAIT_SECONDS
    while find_process(option) is not None and time.monotonic() < deadline:
        time.sleep(0.2)
    return path.is_file()


if __name__ == "__main__":
    try:
        made = make_class_archive()
    except SandboxError as error:
        sys.exit(f"error: {error}")
    sys.stdout.write(f"classes of Spark: {'archived' if made else 'no new archive'}\n")
