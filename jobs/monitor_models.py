"""Watches models: drift of inputs, quality where labels arrived, and the gate to train again."""

import logging
import sys
from datetime import UTC, datetime, timedelta

from matchlake.errors import FitError, MatchlakeError
from matchlake.io.task_values import set_task_value
from matchlake.lakehouse.registered_models import registered_model
from matchlake.model_store.scoring_folder import SCORING, load_scoring_model
from matchlake.monitoring.judgement import Judgement, judge_window
from matchlake.monitoring.tables import MODEL_QUALITY, quality_row
from matchlake.monitoring.window import read_training_side, read_window
from matchlake.runtime import Flag, Runtime, run_job

_log = logging.getLogger("matchlake.monitor_models")

FLAGS = (Flag("--model", "model_jobs.names", "NAME", "a model of conf; may be repeated"),)


def run(runtime: Runtime) -> None:
    """Judges each watched model; one that fails does not keep the others from theirs."""
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
        _log.warning("conf watches no models: see lib/matchlake/monitoring/README.md")
    is_open = bool(alarms) and runtime.config.monitor.retrain
    set_task_value("retrain", str(is_open).lower())
    if failed:
        raise FitError("\n".join(failed))


def monitor_model(runtime: Runtime, name: str, now: datetime) -> Judgement:
    """Compares the newest window of one model with its training version, and notes the result."""
    lake, config = runtime.lakehouse, runtime.config
    params, monitor = config.models[name], config.monitor
    tracker = registered_model(config, runtime.tracker, name).tracker
    champion = tracker.require_champion()
    with tracker.files(champion, f"artifacts/{SCORING}") as folder:
        model = load_scoring_model(folder)
    version = tracker.input_version(champion, params.rows)
    before = read_training_side(lake, name, params, config.features_of(name), model, version)
    window = (now - timedelta(days=monitor.window_days), now)
    rows = read_window(lake, name, params, monitor.models[name], model, window)
    found = judge_window(model, params.deciding_metric, before, rows, monitor, params.seed)
    row = quality_row(name, champion.version, window, found)
    lake.append(lake.frame([row], MODEL_QUALITY), MODEL_QUALITY)
    return found


if __name__ == "__main__":
    sys.exit(run_job("monitor_models", run, flags=FLAGS))
