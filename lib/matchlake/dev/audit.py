"""Known vulnerabilities of the locked packages and jars: `python -m matchlake.dev.audit`.

It asks OSV (osv.dev), which collects the advisories of PyPI, Maven and others. Without an answer
within seconds it prints that nothing was audited, and exits with 0. With `--strict` it exits with 1
if there is a known vulnerability, or no answer.
"""

import json
import sys
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, NamedTuple

from matchlake.dev.bundle.locks import Locked, locked_jars, locked_packages

ADDRESS = "https://api.osv.dev/v1/querybatch"
SECONDS = 3.0
"""The time for the whole answer, name resolution included."""
_JARS = Path(__file__).parent / "sandbox"
_LARGEST = 16 << 20


class Finding(NamedTuple):
    """A locked package or jar with its known vulnerabilities."""

    locked: Locked
    vulnerabilities: tuple[str, ...]

    def __str__(self) -> str:
        """One line for the terminal."""
        name, version = self.locked.name, self.locked.version
        return f"{name} {version}: {', '.join(self.vulnerabilities)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the findings for the project in the working folder; the exit code."""
    strict = "--strict" in (sys.argv[1:] if arguments is None else arguments)
    locked = locked_versions(Path.cwd())
    try:
        findings = audit(locked)
    except (OSError, ValueError, KeyError) as error:
        sys.stdout.write(f"not audited: OSV gives no answer ({error})\n")
        return int(strict)
    for finding in findings:
        sys.stdout.write(f"vulnerable: {finding}\n")
    sys.stdout.write(f"audited: {len(locked)} packages and jars, {len(findings)} vulnerable\n")
    return int(strict and bool(findings))


def locked_versions(root: Path) -> list[Locked]:
    """Each version in a requirements lock of `root` or in a jar lock, once."""
    packages = (each for lock in root.glob("requirements*.lock") for each in locked_packages(lock))
    jars = (each for lock in _JARS.glob("*.lock") for each in locked_jars(lock))
    return sorted(set(packages) | set(jars))


def audit(
    locked: Iterable[Locked], address: str = ADDRESS, seconds: float = SECONDS
) -> list[Finding]:
    """The findings of OSV. Raises OSError or ValueError if no answer comes in time."""
    locked = list(locked)
    queries = [
        {"package": {"ecosystem": each.ecosystem, "name": each.name}, "version": each.version}
        for each in locked
    ]
    answers = _asked(address, {"queries": queries}, seconds)["results"]
    findings = [
        Finding(each, tuple(sorted(vulnerability["id"] for vulnerability in answer["vulns"])))
        for each, answer in zip(locked, answers, strict=True)
        if answer.get("vulns")
    ]
    return sorted(findings)


def _asked(address: str, question: Any, seconds: float) -> Any:
    """The response to a request. A thread sends it, because name resolution has no timeout."""
    answers: SimpleQueue[Any] = SimpleQueue()

    def ask() -> None:
        try:
            answers.put(_answer(address, question, seconds))
        except Exception as error:  # noqa: BLE001 - raised again by the caller
            answers.put(error)

    Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except Empty:
        raise TimeoutError(f"{address} took more than {seconds:g} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _answer(address: str, question: Any, seconds: float) -> Any:
    body = json.dumps(question).encode()
    request = urllib.request.Request(  # noqa: S310 - https, or a test's own server
        address, body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=seconds) as answer:  # noqa: S310 - see above
        return json.loads(answer.read(_LARGEST))


if __name__ == "__main__":
    sys.exit(main())
