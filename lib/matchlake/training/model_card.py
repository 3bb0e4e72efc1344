"""The model card of a run: what was fitted on what, how good it is, and why it has its alias."""

from collections.abc import Mapping

from matchlake.io.model_versions import Decision
from matchlake.training.model_data import ModelRows
from matchlake.training.model_params import ModelParams
from matchlake.training.model_training import Trained


def model_card(
    params: ModelParams,
    trained: Trained,
    rows: ModelRows,
    figures: Mapping[str, Mapping[str, float]],
    decision: Decision,
) -> str:
    """The card as Markdown. `figures` has the metrics of `model`, `champion` and `constant`."""
    model = trained.model
    split = params.split
    by = f" by {split.column}" if split.column else ""
    lines = [
        f"# {model.name}",
        "",
        f"A {params.task} of `{params.label or params.rows}` by {params.trainer.kind}.",
        "",
        "| | |",
        "|---|---|",
        f"| rows | `{params.rows}`, Delta version {rows.version} |",
        f"| split | {split.kind}{by}, {split.test_fraction:g} of the rows for the test |",
        f"| rows of the training part | {trained.rows:,} |",
        f"| rows left out | {rows.left_out:,} |",
        f"| keys | {', '.join(params.keys)} |",
        f"| trainer | `{params.trainer.model_dump_json()}` |",
        f"| alias | {decision.alias}: {_cell(decision.reason)} |",
        "",
        "## Metrics of the test part",
        "",
        *_metrics(figures),
        "",
        "## Features",
        "",
        "| feature | column | kind | feature columns |",
        "|---|---|---|---|",
    ]
    for fitted in model.features.features:
        count = len(fitted.outputs())
        names = f"{_cell(fitted.name)} | {_cell(fitted.column)}"
        lines.append(f"| {names} | {fitted.feature.kind} | {count} |")
    if trained.leaks:
        listed = ", ".join(trained.leaks)
        lines += ["", f"**Possible leak**: each of these decides the label alone: {_cell(listed)}."]
    return "\n".join([*lines, ""])


def _metrics(figures: Mapping[str, Mapping[str, float]]) -> list[str]:
    names = list(dict.fromkeys(name for values in figures.values() for name in values))
    lines = [f"| metric | {' | '.join(figures)} |", f"|---|{'---|' * len(figures)}"]
    for name in names:
        values = [f"{each[name]:.6f}" if name in each else "" for each in figures.values()]
        lines.append(f"| {name} | {' | '.join(values)} |")
    return lines


def _cell(text: str) -> str:
    """Text that cannot end the cell of a table."""
    return " ".join(text.replace("|", "\\|").split())
