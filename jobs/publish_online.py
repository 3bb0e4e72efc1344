"""Gold tables by key -> the online store: PostgreSQL, or memory-mapped Arrow files.

Each table is replaced at once: a reader sees the rows of one version. If a run fails, the store
keeps the rows that it has. Rows of erased users are left out.
"""

import logging
import sys

from matchlake.errors import MatchlakeError, TableError
from matchlake.lakehouse.online_publish import OnlinePublish
from matchlake.runtime import Flag, Runtime, run_job

_log = logging.getLogger("matchlake.publish_online")

FLAGS = (Flag("--table", "online.publish", "NAME", "a table of online.tables; may be repeated"),)


def run(runtime: Runtime) -> None:
    """Publishes each chosen table to each store. If one fails, the others are still published."""
    online = OnlinePublish(runtime.config, runtime.lakehouse, runtime.secrets)
    stores, failed = online.stores(), []
    for name in runtime.config.online.chosen_tables:
        for store in stores:
            try:
                online.publish(name, store)
            except MatchlakeError as error:
                failed.append(f"online.tables.{name}, {store.kind}: {error}")
                _log.error("%s in %s is not published: %s", name, store, error)
    if "lakebase" in runtime.config.online.stores:
        _log.info("lakebase: Databricks fills the synced tables of the bundle itself")
    if failed:
        raise TableError("\n".join(failed))


if __name__ == "__main__":
    sys.exit(run_job("publish_online", run, flags=FLAGS))
