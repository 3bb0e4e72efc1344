"""Another export in its place: requests get the old or the new model, none a mixture."""

import asyncio
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.served import (
    Client,
    export_recommender,
    export_scoring,
    json_rows,
    scoring_model,
    state_of,
)

from matchlake.errors import ModelError
from matchlake.formulas.heads import LinearHead
from matchlake.model_store.scoring_model import ScoringModel
from matchlake.serve import state as state_module
from matchlake.serve.current import POINTER, CurrentModel
from matchlake.serve.scoring import ScoringServer


def versions(count: int) -> list[ScoringModel]:
    """Models that differ only in a constant, so that a score tells which one it is from."""
    model = next(
        each
        for each in (scoring_model(seed) for seed in range(50))
        if isinstance(each.head, LinearHead) and each.head.link == "identity"
    )
    head: Any = model.head
    heads = [head.model_copy(update={"intercepts": (float(100_000 * n),)}) for n in range(count)]
    return [model.model_copy(update={"head": each}) for each in heads]


def test_answers_under_load_are_of_one_version(tmp_path: Path) -> None:
    models = versions(2)
    exports = [
        export_scoring(tmp_path / f"{number}.onnx", model, str(number))
        for number, model in enumerate(models)
    ]
    path = tmp_path / "served.onnx"
    shutil.copy(exports[0], path)
    current = CurrentModel(path)
    row = {name: [value] for name, value in json_rows(models[0], range(1))[0].items()}
    want = [_score(ScoringServerOf(export), row) for export in exports]
    assert want[0] != want[1]
    wrong: list[Any] = []
    seen: set[str] = set()
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            model: Any = current.model
            found = _score(model, row)
            seen.add(model.version)
            if found != want[int(model.version)]:
                wrong.append((model.version, found))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(1, 13):
        partial = tmp_path / "partial"
        shutil.copy(exports[number % 2], partial)
        partial.replace(path)
        assert current.refresh()
    done.set()
    for thread in threads:
        thread.join()
    assert (wrong, seen) == ([], {"0", "1"})


def ScoringServerOf(path: Path) -> ScoringServer:  # noqa: N802 - makes one
    model = CurrentModel(path).model
    assert isinstance(model, ScoringServer)
    return model


def _score(model: ScoringServer, row: dict[str, list[Any]]) -> Any:
    return model.score(row).columns["prediction"]


def test_a_damaged_export_is_refused_and_the_old_model_stays(tmp_path: Path) -> None:
    told: list[str] = []
    path = export_recommender(tmp_path / "best", "1")
    current = CurrentModel(path, told.append)
    before = current.model
    assert not current.refresh()
    factors = path / "item_factors.npy"
    content = factors.read_bytes()
    factors.write_bytes(content[:-4] + b"\0\0\0\1")
    assert not current.refresh()
    assert (current.model, told) == (before, ["refusals"])
    assert not current.refresh()
    assert told == ["refusals"]
    shutil.rmtree(path)
    assert not current.refresh()
    export_recommender(tmp_path / "other", "2", users=["x"]).rename(path)
    assert current.refresh()
    assert (current.model.version, told) == ("2", ["refusals", "swaps"])


def test_a_pointer_names_the_export(tmp_path: Path) -> None:
    for number in ("1", "2"):
        export_recommender(tmp_path / f"v{number}", number)
    pointer = tmp_path / POINTER
    pointer.write_text("v1")
    state = state_of(tmp_path)
    with Client(state) as client:
        assert client.get("/recommend/ann").json()["model_version"] == "1"
        pointer.write_text("v2")
        assert state.current.refresh()
        assert client.get("/recommend/ann").headers["x-model-version"] == "2"
        pointer.write_bytes(b"\xff")
        assert not state.current.refresh()
        pointer.write_text("../../etc")
        assert not state.current.refresh()
        assert client.get("/recommend/ann").headers["x-model-version"] == "2"


def test_a_part_that_fails_is_asked_again_and_told_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = export_recommender(tmp_path / "best", "1")
    looks: list[int] = []

    def refresh() -> None:
        looks.append(1)
        raise PermissionError("no access")

    state = state_of(path)
    state.erased = SimpleNamespace(refresh=refresh)  # type: ignore[assignment]
    export_recommender(tmp_path / "other", "2").replace(path / "v2")
    (path / POINTER).write_text("v2")
    monkeypatch.setattr(state_module, "_LOOK_SECONDS", 0.01)
    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(state.watch(), 1.5))
    assert (len(looks) > 2, state.model.version) == (True, "2")
    assert caplog.text.count("no access") == 1


def test_other_files_are_no_export(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"no graph")
    (tmp_path / "empty").mkdir()
    for path, message in (
        (tmp_path / "a.onnx", "onnxruntime cannot load"),
        (tmp_path / "empty", "is not an export"),
        (tmp_path / "none.onnx", "cannot be read"),
    ):
        with pytest.raises(ModelError, match=message):
            CurrentModel(path)
