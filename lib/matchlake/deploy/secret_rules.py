"""Finds values that look like secrets, which no file of a deployment may hold."""

import re
from collections.abc import Iterator
from typing import Any

from matchlake.deploy.documents import Document, Mistake, Place

_NAMES = re.compile(
    r"(?i)(^|[_.-])(password|passwd|pwd|secret|token|apikey|api_key|accesskey|access_key|accountkey|"
    r"connection_?string|credential)s?$|password|clientsecret|accesstoken"
)
_VALUES = (
    ("a connection string", re.compile(r"(?i)(InstrumentationKey|AccountKey|SharedAccessKey)=\S")),
    ("a private key", re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")),
    ("a token of Databricks", re.compile(r"\bdapi[0-9a-f]{32}\b")),
    ("a signed token", re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.")),
    ("a signature of shared access", re.compile(r"[?&]sig=[A-Za-z0-9%+/]{20,}")),
    ("an address with a password", re.compile(r"[a-z]+://[^\s/:@]+:[^\s/@]+@")),
)
_REFERENCES = ("secretKeyRef", "secretName", "secretProviderClass", "automountServiceAccountToken")


def secret_mistakes(document: Document) -> Iterator[Mistake]:
    """Yields each value that looks like a secret, or whose name does."""
    if document.data.get("kind") == "Secret":
        text = "holds values of secrets: let the pod's identity read Key Vault instead"
        yield document.mistake(f"kind Secret {text}", "kind")
    for place, value in _leaves(document.data, ()):
        name = _name(document, place)
        found = secret_kind(value)
        if found:
            yield document.mistake(f"is {found}; name a reference instead", *place)
        elif _NAMES.search(name) and not any(key in _REFERENCES for key in place):
            yield document.mistake(f"{name} has a value in this file; name a reference", *place)


def text_mistakes(file: str, text: str) -> Iterator[Mistake]:
    """Lines of a plain text that hold a secret."""
    for number, line in enumerate(text.splitlines(), 1):
        for what, pattern in _VALUES:
            if pattern.search(line):
                yield Mistake(file, number, "", f"holds {what}; name a reference instead")


def secret_kind(text: str) -> str | None:
    """Returns the kind of the first secret that a text seems to hold, or None."""
    return next((what for what, pattern in _VALUES if pattern.search(text)), None)


def _name(document: Document, place: Place) -> str:
    """Returns the name of a value: its key, or the `name` of an environment variable."""
    if place and place[-1] in ("value", "secureValue"):
        return str(document.get(*place[:-1], "name") or place[-1])
    return str(place[-1]) if place else ""


def _leaves(value: Any, place: Place) -> Iterator[tuple[Place, str]]:
    below = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, each in below:
        yield from _leaves(each, (*place, key))
    if isinstance(value, str) and value:
        yield place, value
