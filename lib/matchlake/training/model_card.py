"""The model card of a run: trainer, data, metrics, and the reason for its alias."""

from matchlake.io.model_versions import Decision
from matchlake.training.forecasting import Backtest
from matchlake.training.model_data import ModelRows
from matchlake.training.model_gate import FiguresByModel
from matchlake.training.model_params import ModelParams
from matchlake.training.model_training import Trained


def model_card(
    params: ModelParams,
    trained: Trained,
    rows: ModelRows,
    figures: FiguresByModel,
    decision: Decision,
) -> str:
    """Returns the card as Markdown."""
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
        lines += [
            "",
            f"**Possible leak**: each of these alone determines the label: {_cell(listed)}.",
        ]
    return "\n".join([*lines, ""])


def forecast_card(params: ModelParams, made: Backtest) -> str:
    """Returns the card of a forecast as Markdown."""
    model = made.model
    lines = [
        f"# {model.name}",
        "",
        f"Forecasts of `{params.label}` by {params.trainer.kind}.",
        "",
        "| | |",
        "|---|---|",
        f"| rows | `{params.rows}`, Delta version {made.version} |",
        f"| series with a model | {len(model.parameters):,} of {len(model.fitted):,} |",
        f"| trainer | `{params.trainer.model_dump_json()}` |",
        f"| alias | {made.decision.alias}: {_cell(made.decision.reason)} |",
        "",
        "## Metrics of the test part",
        "",
        *_metrics(made.figures),
        "",
    ]
    return "\n".join(lines)


def _metrics(figures: FiguresByModel) -> list[str]:
    names = list(dict.fromkeys(name for values in figures.values() for name in values))
    lines = [f"| metric | {' | '.join(figures)} |", f"|---|{'---|' * len(figures)}"]
    for name in names:
        values = [f"{each[name]:.6f}" if name in each else "" for each in figures.values()]
        lines.append(f"| {name} | {' | '.join(values)} |")
    return lines


def _cell(text: str) -> str:
    """Escapes text for a cell of a table."""
    return " ".join(text.replace("|", "\\|").split())
