"""Exports of a scoring model. Each export has the rows with which it was verified.

An export is first written to a temporary file. Another process reads it and compares its scores
with the model's on the held-out rows. If they agree, the file is moved to its place, with the
largest difference inside. `verify_export` repeats the comparison later, without the model.
"""

import hashlib
import io
import pickle
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from matchlake.errors import ModelError, ParameterError
from matchlake.features.onnx_inputs import onnx_inputs
from matchlake.model_store.export_folder import read_folder, write_folder
from matchlake.model_store.export_keras import (
    TOLERANCE,
    KerasFormat,
    keras_comparison,
    keras_content,
    keras_scores,
    split_comparison,
    with_comparison,
)
from matchlake.model_store.held_out import HeldOut, column_types
from matchlake.model_store.onnx_metadata import with_entry, without_entry
from matchlake.model_store.onnx_session import score_onnx, with_nulls
from matchlake.model_store.safe_pickle import load_pickle
from matchlake.model_store.scoring_model import ScoringModel
from matchlake.model_store.verified import Verified, largest_difference, plain_outputs

Format = Literal["onnx", "json", "sql", "pickle", "h5", "keras", "folder"]
FORMATS: tuple[Format, ...] = get_args(Format)
KEY, SQL_MARK = "matchlake.verified", "-- matchlake.verified: "
SQL_INPUT = "model_input"
"""The table or view that an exported query reads."""
LARGEST_FILE = 2_000_000_000
"""The maximum size of a file, in bytes."""
_SUFFIX: dict[Format, str] = {
    "onnx": ".onnx",
    "json": ".json",
    "sql": ".sql",
    "pickle": ".pkl",
    "h5": ".h5",
    "keras": ".keras",
    "folder": "",
}

RunSql = Callable[[str, Verified], Mapping[str, Any]]
"""Runs a query over the rows of a comparison as SQL_INPUT, and returns its columns by name."""


class Export(NamedTuple):
    """An export that was read: its content, its comparison, and a function that scores again."""

    content: bytes
    """The file without the comparison."""
    verified: Verified
    """The comparison."""
    score: Callable[[], Mapping[str, Any]]
    """Scores the rows of the comparison again."""


def write_export(
    model: ScoringModel,
    held_out: HeldOut,
    kind: Format,
    path: Path,
    model_version: str | None = None,
    add: Callable[[Path], None] | None = None,
) -> Path:
    """Writes an unverified export to a temporary path, and returns that path.

    `add` puts more files into a folder, such as wheels.
    """
    if kind not in FORMATS:
        raise ParameterError(f"There is no format {kind!r}; the formats are {', '.join(FORMATS)}.")
    if not path.name.endswith(_SUFFIX[kind]):
        raise ParameterError(
            f"{path.name} must end in {_SUFFIX[kind]}, because verify finds the format by the "
            "ending."
        )
    if not path.parent.is_dir():
        raise ParameterError(f"The folder {path.parent} does not exist. Create it first.")
    partial = path.with_name(f".{path.name}.unverified{_SUFFIX[kind]}")
    discard(partial)
    content = _content(model, kind)
    inputs, expected = _comparison(model, kind, held_out)
    verified = Verified(
        sha256=hashlib.sha256(content).hexdigest(),
        inputs=inputs,
        types=_types(model) if kind == "sql" else {},
        expected=expected,
        tolerance=TOLERANCE if kind in ("h5", "keras") else model.head.tolerance(),
        model_version=model_version,
    )
    try:
        _write(partial, kind, content, verified, add)
    except BaseException:
        discard(partial)
        raise
    return partial


def finish_export(partial: Path, path: Path, difference: float) -> None:
    """Writes the largest difference into the export, and moves it to `path`."""
    kind = format_of(partial)
    export = read_export(partial)
    figures = export.verified.model_copy(update={"largest_difference": difference})
    _write(partial, kind, export.content, figures)
    if path.is_dir():
        shutil.rmtree(path)
    partial.replace(path)


def discard(partial: Path) -> None:
    """Removes an unverified export."""
    if partial.is_dir():
        shutil.rmtree(partial)
    else:
        partial.unlink(missing_ok=True)


def verify_export(path: Path, run_sql: RunSql | None = None) -> tuple[Verified, float]:
    """Scores an export again. Returns its comparison, and the largest difference now.

    Raises ModelError for a file that is not an export, was changed since, or gives other scores.
    """
    export = read_export(path, run_sql)
    if hashlib.sha256(export.content).hexdigest() != export.verified.sha256:
        raise ModelError(
            f"{path} was changed after its export: its SHA-256 differs from the one inside. Export "
            "the model again."
        )
    return export.verified, largest_difference(export.score(), export.verified)


def format_of(path: Path) -> Format:
    """Returns the format of an export, by its name; raises ModelError if it is not an export."""
    if path.is_dir():
        return "folder"
    for kind, suffix in _SUFFIX.items():
        if suffix and path.name.endswith(suffix):
            return kind
    endings = ", ".join(suffix for suffix in _SUFFIX.values() if suffix)
    raise ModelError(
        f"{path} is not an export: it must be a folder, or a file that ends in {endings}."
    )


def read_export(path: Path, run_sql: RunSql | None = None) -> Export:
    """Reads an export; raises ModelError for a file that is not an export."""
    if not path.exists():
        raise ModelError(f"{path} does not exist.")
    kind = format_of(path)
    if kind == "folder":
        return Export(*read_folder(path))
    if path.stat().st_size > LARGEST_FILE:
        raise ModelError(f"{path} has more than {LARGEST_FILE} bytes, so it is not an export.")
    return _READERS[kind](path, run_sql)


def _content(model: ScoringModel, kind: Format) -> bytes:
    bare = model.model_copy(update={"verified": None})
    if kind in ("h5", "keras"):
        return keras_content(bare, kind)
    if kind == "onnx":
        return bare.to_onnx()
    return bare.to_sql(SQL_INPUT).encode() if kind == "sql" else bare.to_json().encode()


def _comparison(
    model: ScoringModel, kind: Format, held_out: HeldOut
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the held-out rows in the form of the export, and the expected scores."""
    if kind in ("h5", "keras"):
        return keras_comparison(model, held_out)
    scored = model.score_numpy(held_out.typed(model.features))
    if not len(next(iter(scored.values()))):
        raise ModelError(
            "The model has no held-out rows to verify an export. Train the model again."
        )
    return _inputs(model, kind, held_out), plain_outputs(scored)


def _inputs(model: ScoringModel, kind: Format, held_out: HeldOut) -> dict[str, Any]:
    """Returns the columns of the held-out rows; for graphs as inputs, for queries with keys."""
    if kind == "sql":
        rows = len(next(iter(held_out.columns.values())))
        return dict(held_out.columns) | dict.fromkeys(model.features.keys, (None,) * rows)
    if kind != "onnx":
        return dict(held_out.columns)
    arrays = onnx_inputs(model.features.features, held_out.typed(model.features))
    return plain_outputs(arrays)


def _types(model: ScoringModel) -> dict[str, str]:
    """Returns the types of the columns; the query only copies keys, so their type is arbitrary."""
    return dict.fromkeys(model.features.keys, "string") | column_types(model.features)


def _write(
    path: Path,
    kind: Format,
    content: bytes,
    verified: Verified,
    add: Callable[[Path], None] | None = None,
) -> None:
    if kind == "folder":
        write_folder(path, content, verified, add)
        return
    if kind == "json":
        model = ScoringModel.from_json(content.decode())
        text = model.model_copy(update={"verified": verified}).to_json()
        path.write_text(text, encoding="utf-8")
    elif kind == "sql":
        line = f"{SQL_MARK}{verified.model_dump_json()}\n"
        path.write_text(line + content.decode(), encoding="utf-8", newline="\n")
    elif kind == "pickle":
        model = ScoringModel.from_json(content.decode())
        path.write_bytes(pickle.dumps(model.model_copy(update={"verified": verified})))
    elif kind in ("h5", "keras"):
        path.write_bytes(with_comparison(content, kind, verified.model_dump_json()))
    else:
        path.write_bytes(with_entry(content, KEY, verified.model_dump_json()))


def _read_onnx(path: Path, run_sql: RunSql | None) -> Export:
    del run_sql
    import onnx  # noqa: PLC0415 - the extra `models`

    try:
        content, entry = without_entry(path.read_bytes(), KEY)
    except ModelError:
        raise ModelError(f"{path} is not an ONNX model.") from None
    verified = _verified(path, entry)
    graph = onnx.load_model_from_string(content)

    def score() -> dict[str, Any]:
        kinds = {
            each.name: each.type.tensor_type.elem_type == onnx.TensorProto.STRING
            for each in graph.graph.input
        }
        missing = set(kinds) - set(verified.inputs)
        if missing:
            raise ModelError(f"{path} has no held-out values for {', '.join(sorted(missing))}.")
        inputs = {
            name: np.array(verified.inputs[name], dtype=object if is_text else np.float64)
            for name, is_text in kinds.items()
        }
        scored = score_onnx(content, inputs)
        return plain_outputs(with_nulls({k: v for k, v in scored.items() if k != "refused"}))

    return Export(content, verified, score)


def _read_json(path: Path, run_sql: RunSql | None) -> Export:
    del run_sql
    return export_of_model(path, ScoringModel.from_json(_text(path)))


def _read_pickle(path: Path, run_sql: RunSql | None) -> Export:
    del run_sql
    model = load_pickle(io.BytesIO(path.read_bytes()), path)
    return export_of_model(path, model)


def export_of_model(path: Path, model: ScoringModel) -> Export:
    """Returns a file with a whole model as an export."""
    if model.verified is None:
        raise ModelError(f"{path} holds a model without a comparison. Export the model again.")
    bare = model.model_copy(update={"verified": None})
    held_out = HeldOut(columns=model.verified.inputs)
    return Export(
        bare.to_json().encode(),
        model.verified,
        lambda: plain_outputs(bare.score_numpy(held_out.typed(bare.features))),
    )


def _read_sql(path: Path, run_sql: RunSql | None) -> Export:
    first, _, query = _text(path).partition("\n")
    if not first.startswith(SQL_MARK):
        raise ModelError(f"{path} is not an exported query: its first line has no comparison.")
    verified = _verified(path, first.removeprefix(SQL_MARK))

    def score() -> dict[str, Any]:
        if run_sql is None:
            raise ModelError(f"{path} needs Spark. Use `matchlake models verify`.")
        found = run_sql(query, verified)
        return {name: found[name] for name in verified.expected}

    return Export(query.encode(), verified, score)


def _read_keras(path: Path, run_sql: RunSql | None) -> Export:
    del run_sql
    kind: KerasFormat = "h5" if path.name.endswith(".h5") else "keras"
    content, text = split_comparison(path, kind)
    verified = _verified(path, text)
    return Export(content, verified, keras_scores(content, kind, verified.inputs))


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        raise ModelError(f"{path} is not valid UTF-8.") from None


def _verified(path: Path, text: str | None) -> Verified:
    if text is None:
        raise ModelError(f"{path} has no comparison, so it is not an export of matchlake.")
    try:
        return Verified.model_validate_json(text)
    except ValueError:
        raise ModelError(
            f"The comparison inside {path} is damaged. Export the model again."
        ) from None


_READERS: dict[Format, Callable[[Path, RunSql | None], Export]] = {
    "onnx": _read_onnx,
    "json": _read_json,
    "sql": _read_sql,
    "pickle": _read_pickle,
    "h5": _read_keras,
    "keras": _read_keras,
}
