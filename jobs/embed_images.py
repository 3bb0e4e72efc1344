"""Image files of the lake -> embeddings by an ONNX model, one row per file, and item features.

Each file is embedded once, and again if it, the model or the declaration has changed. A file that
is not a usable image is a row with the reason. A source that fails does not keep the others from
being embedded; the job then fails at its end.
"""

import logging
import sys
from datetime import UTC, datetime

from matchlake.ingest.files.failures import SourceFailures
from matchlake.ingest.files.loader import lake_folder
from matchlake.ingest.images.embed import image_load
from matchlake.runtime import Runtime, run_job

_log = logging.getLogger("matchlake.embed_images")


def run(runtime: Runtime) -> None:
    """Embeds the new and changed files of every declared source."""
    config, now = runtime.config, datetime.now(UTC)
    if not config.images.sources:
        _log.info("conf declares no images: see lib/matchlake/ingest/images/README.md")
        return
    folder = lake_folder(config.lake, config.lakehouse)
    failures = SourceFailures()
    for name, source in config.images.sources.items():
        with failures.kept(name):
            counts = image_load(name, config.images, folder, runtime.lakehouse).embed(now)
            on = ", ".join(f"{counts[each]} on {each}" for each in ("cpu", "cuda") if counts[each])
            quarantined = counts.total() - counts["cpu"] - counts["cuda"]
            text = "%s: embedded %s + %d quarantined into %s"
            _log.info(text, name, on or "0", quarantined, source.table)
    failures.raise_kept()


if __name__ == "__main__":
    sys.exit(run_job("embed_images", run))
