"""Paths: those that Python can open, and those that only Spark can."""

import re


def is_local(path: str) -> bool:
    """Whether Python can open the path; a URL such as abfss://... only Spark can."""
    return re.match(r"[a-z][a-z0-9+.-]*:/", path) is None
