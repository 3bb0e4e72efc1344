"""The marks on operation: telemetry, monitoring, deployment files, reports.

`telemetry` runs the same work with each kind of broken endpoint and without telemetry, in turns.
`windows` judges windows without a change; `planted` those with one. `mistakes` seeds mistakes into
deployment files. `reports` needs a lakehouse with the demo's tables: `matchlake demo`.

    python tests/benchmarks/bench_operate.py --rows telemetry,mistakes --json
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from tests.benchmarks.marks import with_marks
from tests.support.telemetry_servers import endpoint
from tests.unit.deploy import test_deploy as deploy
from tests.unit.io.test_telemetry import PLANTED, Store, metrics_of, params
from tests.unit.io.test_telemetry import job as telemetry_job
from tests.unit.monitoring import test_monitoring as monitoring

from matchlake.deploy.check import check_folder
from matchlake.deploy.render import Target
from matchlake.io.secrets.value import Secret
from matchlake.io.telemetry import count, observe, reporting_to, step
from matchlake.io.telemetry.names import METRICS
from matchlake.io.telemetry.params import TelemetryParams

ROWS = ("arrival", "telemetry", "windows", "planted", "mistakes", "rendered", "reports")
BROKEN = ("down", "slow", "throttling", "refusing")


def arrival() -> dict[str, float]:
    """The metrics that did not arrive at a collector, and the payloads with a planted secret."""
    Secret(PLANTED)
    with endpoint() as server:
        telemetry_job(params(otlp=f"http://127.0.0.1:{server.port}"))
        missing = set(METRICS) - set(metrics_of(server))
        leaks = sum(PLANTED.encode() in body for _, body in server.received)
    return {"metrics_missing": len(missing), "secrets_found": leaks}


def telemetry(seconds: float, rounds: int) -> dict[str, float]:
    """The largest cost of a broken endpoint, in percent of a job's time.

    The cost is the CPU time that is added, and the time that the job waits at its end. Both hold on
    a busy machine, unlike the time of the whole run. The packages are imported before.
    """
    taken: dict[str, list[float]] = {name: [] for name in ("without", *BROKEN)}
    _run("down", 0.1)
    for _ in range(rounds):
        for name, times in taken.items():
            times.append(_run(name, seconds))
    base = statistics.median(taken["without"])
    costs = {n: 100 * (statistics.median(times) - base) / seconds for n, times in taken.items()}
    print({name: f"{cost:+.2f} %" for name, cost in costs.items()}, flush=True)
    return {"cost_percent": max(costs[name] for name in BROKEN)}


def _run(behaviour: str, seconds: float) -> float:
    """CPU seconds, and seconds of waiting at the end, of work with 200 steps and their metrics."""
    with endpoint("ok" if behaviour in ("down", "without") else behaviour) as server:  # type: ignore[arg-type]
        address = f"http://127.0.0.1:{server.port}"
        if behaviour == "down":
            server.server.shutdown()
            server.server.server_close()
        given = TelemetryParams() if behaviour == "without" else params(otlp=address)
        began = time.process_time()
        with reporting_to(given, Store(), "bench", "test"):
            for _ in range(200):
                with step("work"):
                    time.sleep(seconds / 200)
                    count("matchlake.batch.valid", 1, stream="x")
                    observe("matchlake.batch.seconds", 1, stream="x")
            ended, used = time.monotonic(), time.process_time() - began
        return used + time.monotonic() - ended


def windows(number: int) -> dict[str, float]:
    """The alarms of windows without a change, per 1,000."""
    alarms, total = monitoring.false_alarms(number)
    return {"false_alarms_per_1000": 1_000 * alarms / total}


def planted(number: int) -> dict[str, float]:
    """The share of windows with a planted change that are found, and that name its feature."""
    random = np.random.default_rng(1)
    found = named = 0
    for seed in range(number):
        feature = ("age", "visits")[seed % 2]
        now = monitoring.rows(1_000, random, **{feature: monitoring.PLANTED[feature]})
        judged = monitoring.judged(monitoring.rows(2_000, random), now, seed)
        found += "drift" in judged.alarms
        named += judged.main_feature == feature
    return {"planted_found": found / number, "planted_named": named / number}


def mistakes() -> dict[str, float]:
    """The share of seeded mistakes that are found; they were written beside the checker."""
    cases: list[tuple[Target, Any]] = [(Target.AKS, edit) for edit in deploy.AKS]
    cases += list(deploy.OTHERS)
    found = 0
    for target, edit in cases:
        with tempfile.TemporaryDirectory() as folder:
            keys = {"profile": "ha"} if target is Target.AKS else {}
            try:
                deploy.seeded(deploy.written(Path(folder), target, **keys), edit)
                found += 1
            except AssertionError as error:
                print(error, flush=True)
    print(f"{found} of {len(cases)} seeded mistakes found", flush=True)
    return {"mistakes_found": found / len(cases), "mistakes": len(cases)}


def rendered() -> dict[str, float]:
    """The mistakes in what is rendered, for each target and profile, Kubernetes 1.33 to 1.37."""
    cases: list[tuple[Target, dict[str, Any]]] = [
        (Target.AKS, {"profile": "dev"}),
        (Target.AKS, {"profile": "ha"}),
        (Target.AKS, {"profile": "standby", "scaling": deploy.STANDBY}),
        *((target, {}) for target in Target if target is not Target.AKS),
    ]
    wrong = 0
    for target, keys in cases:
        with tempfile.TemporaryDirectory() as folder:
            wrong += len(check_folder(deploy.written(Path(folder), target, **keys)))
    return {"rendered_mistakes": wrong}


def reports(env: str) -> dict[str, float]:
    """The widgets without rows on the tables of the demo."""
    from matchlake.cli.launch import start_quietly  # noqa: PLC0415 - they bring Spark
    from matchlake.config import load_config  # noqa: PLC0415
    from matchlake.lakehouse.views import create_views  # noqa: PLC0415
    from matchlake.reports.catalogue import reports as specs  # noqa: PLC0415
    from matchlake.reports.reading import read_report  # noqa: PLC0415

    config = load_config(env)
    lake = start_quietly(config, "bench").lakehouse
    known = specs(config.ingest.batch_log, config.lake.file_log).values()
    create_views(lake, config, {need for spec in known for need in spec.needs})
    blank = [
        f"{spec.name}.{each.widget.name}: {each.reason}"
        for spec in known
        for each in read_report(lake, spec, {"user_id": "42"})
        if each.reason
    ]
    print("\n".join(blank), flush=True)
    return {"widgets_without_rows": len(blank)}


def main() -> None:
    """Prints each figure, and with `--json` one object with `marks` as the last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", default=",".join(ROWS), help="some of them")
    parser.add_argument("--windows", type=int, default=1_000)
    parser.add_argument("--planted", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=30, help="length of a run of telemetry")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--env", default="demo", help="the environment whose reports are made")
    parser.add_argument("--json", action="store_true", help="print one JSON object as last line")
    options = parser.parse_args()
    makers = {
        "arrival": arrival,
        "telemetry": lambda: telemetry(options.seconds, options.rounds),
        "windows": lambda: windows(options.windows),
        "planted": lambda: planted(options.planted),
        "mistakes": mistakes,
        "rendered": rendered,
        "reports": lambda: reports(options.env),
    }
    figures: dict[str, float] = {}
    for name in options.rows.split(","):
        figures |= makers[name]()
        print({key: round(value, 3) for key, value in figures.items()}, flush=True)
    if options.json:
        print(json.dumps(with_marks("operate", {"bench": "operate", "figures": figures})))


if __name__ == "__main__":
    main()
