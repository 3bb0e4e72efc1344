"""An emulator of the jobs of a workspace: creates and runs jobs, shows their runs."""

import itertools
import threading
from collections.abc import Callable, Mapping
from typing import Any

from matchlake.dev.sandbox.cloud.workspace import RefusalError

Tell = Callable[[str, str], None]
"""Called with the key and the state of each task that has ended."""
RunJob = Callable[[Mapping[int, Mapping[str, Any]], int, Mapping[str, str], Tell], None]
"""Runs one job, given the settings of all, its id and parameters; raises if it fails."""


class Jobs:
    """Answers `/api/2.2/jobs/...`: create, list, get, run-now, runs/submit and runs/get.

    Each run has its own thread, while the client asks for its state.
    """

    def __init__(self, run: RunJob) -> None:
        self._run = run
        self._ids = itertools.count(1)
        self._jobs: dict[int, Mapping[str, Any]] = {}
        self._submitted: dict[int, Mapping[str, Any]] = {}
        self._runs: dict[int, dict[str, Any]] = {}

    def act(self, action: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Answers one request."""
        match action:
            case "create":
                job = next(self._ids)
                self._jobs[job] = _checked(request)
                return {"job_id": job}
            case "list":
                return {"jobs": [_shown(job, self._jobs[job]) for job in self._jobs]}
            case "get":
                return _shown(*_found("Job", request.get("job_id"), self._jobs))
            case "run-now":
                job, _ = _found("Job", request.get("job_id"), self._jobs)
                return self._start(job, request.get("job_parameters", {}))
            case "runs/submit":
                job = next(self._ids)
                self._submitted[job] = _checked(request)
                return self._start(job, {})
            case "runs/get":
                run: dict[str, Any] = _found("Run", request.get("run_id"), self._runs)[1]
                return run
        raise RefusalError(404, "ENDPOINT_NOT_FOUND", f"No API for jobs/{action}.")

    def _start(self, job: int, parameters: Mapping[str, str]) -> dict[str, Any]:
        number = next(self._ids)
        state = {"life_cycle_state": "RUNNING"}
        self._runs[number] = {"run_id": number, "job_id": job, "state": state, "tasks": []}
        threading.Thread(target=self._go, args=(number, job, parameters), daemon=True).start()
        return {"run_id": number}

    def _go(self, number: int, job: int, parameters: Mapping[str, str]) -> None:
        run, why = self._runs[number], ""

        def tell(task: str, state: str) -> None:
            run["tasks"].append({"task_key": task, "state": _ended(state)})

        try:
            self._run({**self._jobs, **self._submitted}, job, parameters, tell)
            failed = any(task["state"]["result_state"] == "FAILED" for task in run["tasks"])
            result = "SUCCESS_WITH_FAILURES" if failed else "SUCCESS"
        except Exception as error:  # noqa: BLE001 - any error fails the run
            result, why = "FAILED", str(error)
        run["state"] = _ended(result, why)


def _ended(result: str, why: str = "") -> dict[str, str]:
    return {"life_cycle_state": "TERMINATED", "result_state": result, "state_message": why}


def _checked(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    if not settings.get("tasks"):
        raise RefusalError(400, "INVALID_PARAMETER_VALUE", "A job has at least one task.")
    return settings


def _found(kind: str, number_text: Any, there: Mapping[int, Any]) -> tuple[int, Any]:
    number = int(number_text or 0)
    if number not in there:
        raise RefusalError(400, "INVALID_PARAMETER_VALUE", f"{kind} {number} does not exist.")
    return number, there[number]


def _shown(job: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    return {"job_id": job, "settings": settings}
