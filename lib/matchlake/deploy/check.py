"""Checks the files of a deployment without a network."""

import importlib
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from matchlake.deploy.azure_rules import azure_mistakes, containerfile_mistakes
from matchlake.deploy.documents import Document, Mistake, read_documents, shaped
from matchlake.deploy.kubernetes_rules import kubernetes_mistakes
from matchlake.deploy.secret_rules import secret_mistakes, text_mistakes
from matchlake.errors import ConfigError

VERSIONS = ("1.33", "1.34", "1.35", "1.36", "1.37")
"""The versions of Kubernetes whose schemas validate the objects."""
_NO_SCHEMA = ("Kustomization", "ScaledObject")
"""Kinds of extensions, which Kubernetes' own schemas do not have."""


def has_schemas() -> bool:
    """Returns whether kubernetes-validate is installed, which has the schemas."""
    return importlib.util.find_spec("kubernetes_validate") is not None


def check_folder(folder: Path, versions: Sequence[str] = VERSIONS) -> list[Mistake]:
    """Returns the mistakes of all files below a folder, by file and line.

    `versions` are versions of Kubernetes; they count only if kubernetes-validate is installed.
    Raises ConfigError if the folder has no file of a deployment.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder: write one with `matchlake deploy render`.")
    found = list(read_documents(folder))
    plain = [path for path in folder.rglob("*") if path.name in ("Containerfile", "Dockerfile")]
    if not found and not plain:
        raise ConfigError(f"{folder} has no YAML, JSON or Containerfile to check.")
    documents = [each for each in found if isinstance(each, Document)]
    objects = [each for each in documents if "apiVersion" in each.data or "kind" in each.data]
    mistakes = [each for each in found if isinstance(each, Mistake)]
    mistakes += kubernetes_mistakes(objects)
    for each in objects if has_schemas() else ():
        mistakes += shaped(each, _schema_mistakes(each, versions))
    for each in documents:
        mistakes += secret_mistakes(each)
        mistakes += shaped(each, azure_mistakes(each))
    for path in plain:
        # Invalid UTF-8 is replaced, so that it cannot hide a secret or a root user.
        file, text = path.relative_to(folder).as_posix(), path.read_text("utf-8", errors="replace")
        mistakes += [*containerfile_mistakes(file, text), *text_mistakes(file, text)]
    return sorted(set(mistakes))


def _schema_mistakes(each: Document, versions: Sequence[str]) -> Iterator[Mistake]:
    """Yields what the schemas of Kubernetes refuse, for the first version that refuses it."""
    validate: Any = importlib.import_module("kubernetes_validate")
    for version in versions if each.data.get("kind") not in _NO_SCHEMA else ():
        try:
            validate.validate(each.data, version, strict=True)
        except validate.ValidationError as error:
            place = tuple(getattr(error, "path", ()) or ())
            yield each.mistake(f"Kubernetes refuses this: {error.message}", *place)
            return
        except (validate.SchemaNotFoundError, validate.InvalidSchemaError):
            yield each.mistake(f"Kubernetes {version} has no such kind", "kind")
            return
