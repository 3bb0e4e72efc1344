"""`matchlake serve` against MLflow's scoring server of the same model, and lists in one process.

    python tests/benchmarks/bench_serve.py --json                  # all parts; needs wrk
    python tests/benchmarks/bench_serve.py --only recommend,start
    python tests/benchmarks/bench_serve.py --only memory --requests 2000000

`http` sends one row over a connection that stays open, to both servers in turn, in rounds; `load`
drives each server by `wrk`, ours with two processes. `start` is the time from the command to the
first answer, and `memory` what a process of ours has after many requests. `recommend` is a fold-in
and the best ten items without those of the user, against MatMul and TopK of ONNX Runtime on the
same factors.
"""

import argparse
import contextlib
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
from tests.benchmarks.marks import with_marks
from tests.support.served import export_scoring, json_rows, scoring_model
from threadpoolctl import threadpool_limits

from matchlake.model_store.served_signature import FoldIn
from matchlake.serve.fold_in import ItemFactors
from matchlake.serve.loading import load_served

PARTS = ("http", "load", "start", "memory", "recommend")
COLUMNS, NEEDED = {"n", "p", "f", "i", "c", "b"}, {"n", "i", "c", "b"}
PROGRAM = "from matchlake.cli.main import main; main()"
WRK = """wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = [[%s]]
"""
DRAIN_SECONDS = 1.0


class Server(NamedTuple):
    """A running server, and how it is asked."""

    port: int
    process: psutil.Process

    def memory(self) -> float:
        """MiB of the process that scores: the largest child, or the server itself."""
        all_ = [self.process, *self.process.children(recursive=True)]
        return round(max(each.memory_info().rss for each in all_) / 2**20, 1)


def main() -> None:
    """Runs the parts that the command line names."""
    options = arguments()
    result: dict[str, Any] = {"rows": 1}
    with tempfile.TemporaryDirectory() as folder:
        parts: dict[str, Callable[[argparse.Namespace, Path], Any]] = {
            "http": over_http,
            "load": load,
            "start": start,
            "memory": memory,
            "recommend": recommend,
        }
        for name in options.only.split(","):
            result[name] = parts[name](options, Path(folder))
    json.dump(with_marks("serve", result), sys.stdout, indent=None if options.json else 1)
    print()


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--per-round", type=int, default=150)
    parser.add_argument("--seconds", type=int, default=5, help="of wrk")
    parser.add_argument("--requests", type=int, default=100_000, help="of the part memory")
    parser.add_argument("--lists", type=int, default=2000, help="of the part recommend")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def exported(folder: Path) -> tuple[Path, bytes]:
    """The folder of a model with numbers, texts and truth values, and a request of one row."""
    path = folder / "model"
    for seed in range(5000):
        model = scoring_model(seed, count=8)
        read = set(model.columns()) - {"id"}
        if "c" not in read or not NEEDED <= read <= COLUMNS:
            continue
        if not path.exists():
            export_scoring(path, model, "1")
        row = scored_row(path, json_rows(model, range(50)))
        if row is not None:
            return path, json.dumps({"dataframe_records": [row]}).encode()
        shutil.rmtree(path)
    raise RuntimeError("no model has a row with a score")


def scored_row(path: Path, rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The first row without a null that has a score."""
    model: Any = load_served(path)
    for row in rows:
        if None not in row.values():
            scored = model.score({name: [value] for name, value in row.items()})
            if all(values[0] is not None for values in scored.columns.values()):
                return row
    return None


def ours(path: Path, workers: int = 1) -> contextlib.AbstractContextManager[Server]:
    """`matchlake serve` of an export."""
    options = ["--port", "{port}", "--workers", str(workers)]
    return running([sys.executable, "-c", PROGRAM, "serve", str(path), *options])


def theirs(path: Path) -> contextlib.AbstractContextManager[Server]:
    """MLflow's scoring server of the same folder."""
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(path)]
    return running([*command, "--env-manager", "local", "-h", "127.0.0.1", "-p", "{port}"])


@contextlib.contextmanager
def running(command: list[str]) -> Iterator[Server]:
    """A server, once it answers; raises RuntimeError with its output if it ends before."""
    port = free_port()
    command = [each.replace("{port}", str(port)) for each in command]
    # MLflow starts the program `uvicorn` of its own environment, by name.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    output = tempfile.TemporaryFile()  # noqa: SIM115 - read after an error
    started = subprocess.Popen(
        command, stdout=output, stderr=output, env={**os.environ, "PATH": path}
    )
    process = psutil.Process(started.pid)
    try:
        if not until_answered(port, started):
            output.seek(0)
            raise RuntimeError(output.read()[-2000:].decode(errors="replace"))
        yield Server(port, process)
    finally:
        children = process.children(recursive=True)
        started.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            started.wait(20)
        for each in [process, *children]:
            with contextlib.suppress(psutil.Error):
                each.kill()


def free_port() -> int:
    """A free port of this machine."""
    import socket  # noqa: PLC0415 - beside its one use

    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


def until_answered(port: int, process: subprocess.Popen[bytes]) -> bool:
    """Waits for the first answer to /ping; False if the process ended, or gives none."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            link = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            link.request("GET", "/ping")
            if link.getresponse().status == 200:
                return True
        time.sleep(0.01)
    return False


def seconds_of(link: http.client.HTTPConnection, body: bytes, count: int) -> list[float]:
    """Seconds of each of `count` requests over one connection."""
    found = []
    for _ in range(count):
        begin = time.perf_counter()
        link.request("POST", "/invocations", body, {"Content-Type": "application/json"})
        answer = link.getresponse()
        content = answer.read()
        found.append(time.perf_counter() - begin)
        if answer.status != 200:
            raise RuntimeError(content[:500].decode())
    return found


def over_http(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One row at a time, both servers in turn."""
    path, body = exported(folder)
    found: dict[str, list[float]] = {"ours": [], "mlflow": []}
    with ours(path) as own, theirs(path) as other:
        servers = {"ours": own, "mlflow": other}
        links = {
            name: http.client.HTTPConnection("127.0.0.1", server.port)
            for name, server in servers.items()
        }
        answers = {
            name: seconds_of(link, body, 50) and ask(link, body) for name, link in links.items()
        }
        for _ in range(options.rounds):
            for name, link in links.items():
                found[name] += seconds_of(link, body, options.per_round)
        memory_ = {name: server.memory() for name, server in servers.items()}
    figures = {name: quantiles(values) for name, values in found.items()}
    return {
        **figures,
        "same_answer": close(answers["ours"], answers["mlflow"]),
        "mib": memory_,
        "ratio": {
            key: round(figures["ours"][key] / figures["mlflow"][key], 3) for key in ("p50", "p99")
        },
    }


def ask(link: http.client.HTTPConnection, body: bytes) -> Any:
    """The predictions for a request."""
    link.request("POST", "/invocations", body, {"Content-Type": "application/json"})
    return json.loads(link.getresponse().read())["predictions"][0]


def close(first: Any, second: Any) -> bool:
    """Whether two answers have the same labels, and numbers within 1e-12."""
    return set(first) == set(second) and all(
        np.allclose(first[name], second[name], rtol=1e-12, atol=1e-12)
        if not isinstance(first[name], str)
        else first[name] == second[name]
        for name in first
    )


def quantiles(seconds: list[float]) -> dict[str, float]:
    """Median and 99th percentile in milliseconds."""
    p50, p99 = np.quantile(seconds, [0.5, 0.99]) * 1000
    return {"p50": round(float(p50), 3), "p99": round(float(p99), 3)}


def load(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Requests a second by wrk: two processes of ours, and MLflow's server."""
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed: apt-get install wrk")
    path, body = exported(folder)
    found: dict[str, Any] = {}
    for name, make in (("ours", lambda: ours(path, 2)), ("mlflow", lambda: theirs(path))):
        with make() as server:
            runs = [wrk(server.port, body, options.seconds, folder) for _ in range(3)]
            found[name], found[f"{name}_p99"] = max(runs)
    return found | {"ratio": round(found["ours"] / found["mlflow"], 1)}


def wrk(port: int, body: bytes, seconds: int, folder: Path) -> tuple[float, float]:
    """Requests a second over 16 connections, and their 99th percentile in milliseconds."""
    script = folder / "post.lua"
    script.write_text(WRK % body.decode())
    command = ["wrk", "--latency", "-t", "1", "-c", "16", "-d", f"{seconds}s", "-s", str(script)]
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{port}/invocations"],
        capture_output=True,
        text=True,
        check=True,
    )
    if "Non-2xx" in done.stdout:
        raise RuntimeError(done.stdout)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", done.stdout)
    assert rate is not None
    assert p99 is not None
    time.sleep(DRAIN_SECONDS)
    return float(rate[1]), round(float(p99[1]) * {"us": 0.001, "ms": 1, "s": 1000}[p99[2]], 2)


def start(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Seconds from the command to the first answer, and of CPU of the command's process."""
    del options
    path, _ = exported(folder)
    found = []
    for _ in range(5):
        begin = time.perf_counter()
        with ours(path) as server:
            found.append((time.perf_counter() - begin, sum(server.process.cpu_times()[:2])))
    return {
        "seconds": round(min(wall for wall, _ in found), 2),
        "cpu_seconds": round(min(cpu for _, cpu in found), 2),
    }


def memory(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """MiB of a process after 10,000 requests, and after many more."""
    path, body = exported(folder)
    with ours(path) as server:
        until_counted(server, body, 10_000, folder)
        first = server.memory()
        until_counted(server, body, options.requests, folder)
        last = server.memory()
    return {"requests": options.requests, "first": first, "last": last, "ratio": last / first}


def until_counted(server: Server, body: bytes, count: int, folder: Path) -> None:
    """Sends requests by wrk until the server has answered so many."""
    while counted(server.port) < count:
        wrk(server.port, body, 5, folder)


def counted(port: int) -> float:
    """The requests that a server has answered, by its own metrics."""
    link = http.client.HTTPConnection("127.0.0.1", port)
    link.request("GET", "/metrics")
    text = link.getresponse().read().decode()
    return float(text.split("matchlake_request_seconds_count ")[1].split("\n")[0])


def recommend(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """A fold-in and a list, 12,000 items of rank 64, against MatMul and TopK."""
    del folder
    chance = np.random.default_rng(0)
    factors = (chance.normal(size=(12_000, 64)) / 8).astype(np.float32)
    problem = FoldIn(
        level=0.0,
        centered=False,
        slope=1.0,
        base=0.0,
        gain=1.0,
        shift=0.0,
        base_weight=0.1,
        counts_all_pairs=True,
        penalty_weight=0.01,
        nu=1.0,
    )
    items = ItemFactors(factors, np.zeros(len(factors), np.float32), problem)
    run = matmul_top_k(factors)
    found: dict[str, list[float]] = {"ours": [], "onnxruntime": []}
    # One thread on each side: a process of the server has one.
    with threadpool_limits(1):
        for _ in range(options.lists):
            _one_list(items, run, chance, found)
    figures = {name: quantiles(values) for name, values in found.items()}
    ratio = {
        key: round(figures["ours"][key] / figures["onnxruntime"][key], 3) for key in figures["ours"]
    }
    return {**figures, "ratio": ratio}


def _one_list(
    items: ItemFactors,
    run: Callable[[np.ndarray], np.ndarray],
    chance: np.random.Generator,
    found: dict[str, list[float]],
) -> None:
    """Adds the seconds of both sides for one drawn user."""
    places = chance.choice(len(items), 20, replace=False)
    values = chance.integers(1, 5, 20).astype(float)
    begin = time.perf_counter()
    row = items.fold_in(places, values)
    best = items.best(row, 10, places)
    middle = time.perf_counter()
    theirs_ = run(row.astype(np.float32)[None])
    end = time.perf_counter()
    found["ours"].append(middle - begin)
    found["onnxruntime"].append(end - middle)
    # One item may differ: the last of ten, if two scores are equal but for rounding.
    if len(set(theirs_) - set(places) - set(best.places)) > 1:
        raise RuntimeError("the lists differ")


def matmul_top_k(factors: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """ONNX Runtime's MatMul and TopK on one thread."""
    import onnx  # noqa: PLC0415 - beside its one use
    import onnxruntime  # noqa: PLC0415

    helper, kind = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node("MatMul", ["x", "f"], ["s"]),
        helper.make_node("TopK", ["s", "k"], ["best", "places"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "lists",
        [helper.make_tensor_value_info("x", kind.FLOAT, [1, factors.shape[1]])],
        [helper.make_tensor_value_info("places", kind.INT64, [1, 10])],
        [
            onnx.numpy_helper.from_array(np.ascontiguousarray(factors.T), "f"),
            onnx.numpy_helper.from_array(np.array([10], np.int64), "k"),
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(made.SerializeToString(), options)
    return lambda x: np.asarray(session.run(["places"], {"x": x})[0][0])


if __name__ == "__main__":
    main()
