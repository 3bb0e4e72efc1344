"""The package `tests` where a benchmark is run by its path, so that this folder comes first."""

from pathlib import Path

__path__ = [str(Path(__file__).resolve().parents[1])]
