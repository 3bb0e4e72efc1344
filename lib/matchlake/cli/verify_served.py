"""`matchlake models verify --served`: the answers of served models, scored again by Spark."""

from datetime import datetime
from typing import TYPE_CHECKING

from rich.console import Console

from matchlake.config import JobConfig
from matchlake.errors import ModelError, ReconciliationError
from matchlake.io.mlflow_tracking import Tracker
from matchlake.lakehouse.registered_models import tracker_of
from matchlake.model_store.scoring_folder import SCORING, load_scoring_model

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from matchlake.training.served_scores import Compared


def verify_served(config: JobConfig, since: datetime) -> None:
    """Scores the events since a time again. Prints a line per version.

    Raises ReconciliationError if a score differs, or a version is gone.
    """
    from pyspark.sql import functions as F  # noqa: PLC0415 - brings Spark, seconds

    from matchlake.cli.launch import start_quietly  # noqa: PLC0415
    from matchlake.training.served_scores import EVENTS  # noqa: PLC0415

    lake = start_quietly(config, "models verify", quick=False).lakehouse
    events = lake.read(EVENTS).where(F.col("predicted_at") >= F.lit(since))
    if "_error_code" in events.columns:
        events = events.where("_error_code IS NULL")
    is_list = F.col("features_hash").isNull()
    lists = events.where(is_list).count()
    rows = events.where(~is_list)
    console, problems = Console(soft_wrap=True), []
    for name, version in sorted(rows.select("model", "version").distinct().collect()):
        part = rows.where((F.col("model") == name) & (F.col("version") == version))
        try:
            found = _compared(tracker_of(config, name), version, part)
        except ModelError as error:
            problems.append(f"{name} version {version}: {error}")
            continue
        text = f"{name} version {version}: {found.rows} answers, {found.differences} differ"
        console.print(text, highlight=False)
        if found.differences:
            examples = ", ".join(found.examples)
            problems.append(f"{text}, for example {examples}")
    if lists:
        console.print(f"{lists} lists of recommendations are not scored again.", highlight=False)
    if problems:
        raise ReconciliationError("\n".join(problems))


def _compared(tracker: Tracker, number: str, events: "DataFrame") -> "Compared":
    """The comparison with one registered version. Raises ModelError if it does not exist."""
    from matchlake.training.served_scores import compare_served  # noqa: PLC0415 - brings Spark

    version = tracker.version(number) if number.isdecimal() else None
    if version is None:
        raise ModelError("the registry has no such version, so its answers cannot be checked.")
    with tracker.files(version, f"artifacts/{SCORING}") as folder:
        model = load_scoring_model(folder)
    return compare_served(model, events)
