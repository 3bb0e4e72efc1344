"""New rows of a model -> drift, quality -> gold.model_quality, and whether to train again."""

import logging
import sys
from datetime import UTC, datetime, timedelta

from matchlake.errors import FitError, MatchlakeError
from matchlake.io.task_values import set_task_value
from matchlake.lakehouse.registered_models import registered_model
from matchlake.model_store.scoring_folder import SCORING, load_scoring_model
from matchlake.monitoring.judgement import Judgement, judge_window
from matchlake.monitoring.tables import MODEL_QUALITY, quality_row
from matchlake.monitoring.watched_rows import WatchedRows
from matchlake.runtime import Flag, Runtime, run_job

_log = logging.getLogger("matchlake.monitor_models")

FLAGS = (Flag("--model", "model_jobs.names", "NAME", "a model of conf; may be repeated"),)


def run(runtime: Runtime) -> None:
    """Judges each watched model of the chosen ones; if one fails, the others are still judged."""
    now, failed, alarms = datetime.now(UTC), [], []
    watched = [n for n in runtime.config.monitor.models if n in runtime.config.chosen_models]
    for name in watched:
        try:
            found = monitor_model(runtime, name, now)
        except MatchlakeError as error:
            failed.append(f"models.{name}: {error}")
            _log.error("models.%s is not judged: %s", name, error)
            continue
        alarms += [name] if found.alarms else []
        level = logging.WARNING if found.alarms else logging.INFO
        _log.log(level, "%s: %s: %s", name, " and ".join(found.alarms) or "no alarm", found.note)
    if not watched:
        _log.warning("none of the chosen models is watched: see lib/matchlake/monitoring/README.md")
    is_open = bool(alarms) and runtime.config.monitor.retrain
    set_task_value("retrain", str(is_open).lower())
    if failed:
        raise FitError("\n".join(failed))


def monitor_model(runtime: Runtime, name: str, now: datetime) -> Judgement:
    """Compares the newest window with the rows of the training; appends to gold.model_quality."""
    lake, config = runtime.lakehouse, runtime.config
    params, monitor = config.models[name], config.monitor
    tracker = registered_model(config, runtime.tracker, name).tracker
    champion = tracker.require_champion()
    with tracker.files(champion, f"artifacts/{SCORING}") as folder:
        model = load_scoring_model(folder)
    rows = WatchedRows(lake, name, params, monitor, model)
    version = tracker.input_version(champion, params.rows)
    before = rows.training_side(config.features_of(name), version)
    window = (now - timedelta(days=monitor.window_days), now)
    found = judge_window(
        model, params.deciding_metric, before, rows.window(*window), monitor, params.seed
    )
    row = quality_row(name, champion.version, window, found)
    lake.append(lake.frame([row], MODEL_QUALITY), MODEL_QUALITY)
    return found


if __name__ == "__main__":
    sys.exit(run_job("monitor_models", run, flags=FLAGS))
