"""The command `report`: pages and dashboards for people who write no SQL."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from matchlake.cli.options import ConfDir, Environment, Overrides
from matchlake.config import JobConfig, load_config
from matchlake.errors import ConfigError, TableError
from matchlake.reports.catalogue import report_named, reports
from matchlake.reports.dashboards import render_dashboard
from matchlake.reports.genie import render_genie_space
from matchlake.reports.metric_views import metric_views
from matchlake.reports.spec import ReportSpec

_ALL = "all"
GENIE = "analysts.genie.json"
"""The file of the Genie space, beside those of the dashboards."""


class ReportFormat(StrEnum):
    """What the command writes."""

    HTML = "html"
    DASHBOARD = "dashboard"


def report_command(  # noqa: PLR0913 - the options of a command
    name: Annotated[str, typer.Argument(help="a report, or all")],
    *,
    out: Annotated[Path, typer.Option(help="the page; for dashboards their folder")],
    user: Annotated[str | None, typer.Option(help="the user of the report `user`")] = None,
    output: Annotated[
        ReportFormat,
        typer.Option("--format", help="html: a page; dashboard: .lvdash.json and a Genie space"),
    ] = ReportFormat.HTML,
    check: Annotated[
        bool, typer.Option("--check", help="fail if a field is wrong or without values")
    ] = False,
    env: Environment = "local",
    overrides: Overrides = None,
    conf_dir: ConfDir = None,
) -> None:
    """Writes a report: ingestion, recommendations, models, drift, user, or all of them.

    The page is one file without scripts: send it by mail, or print it. A widget without rows says
    why. `all` has the page of a user only with --user.

    For example: matchlake report all --env demo --user 42 --out report.html
    """
    config = load_config(env, overrides or [], conf_dir)
    known = reports(config.ingest.batch_log, config.lake.file_log)
    specs = list(known.values()) if name == _ALL else [report_named(name, known)]
    if output is ReportFormat.DASHBOARD:
        if check or user is not None:
            raise ConfigError("--check and --user are for pages: leave them out, or --format.")
        _write_dashboards(config, specs, out)
        return
    arguments = {} if user is None else {"user_id": user}
    if name == _ALL:
        specs = [spec for spec in specs if spec.parameters.keys() <= arguments.keys()]
    _write_page(config, specs, arguments, out, fail=check)


def _write_page(
    config: JobConfig,
    specs: Sequence[ReportSpec],
    arguments: Mapping[str, str],
    out: Path,
    *,
    fail: bool,
) -> None:
    # These imports load Spark.
    from matchlake.cli.launch import start_quietly  # noqa: PLC0415
    from matchlake.lakehouse.views import create_views  # noqa: PLC0415
    from matchlake.reports.page import render_page  # noqa: PLC0415
    from matchlake.reports.reading import problems_of, read_report  # noqa: PLC0415

    lake = start_quietly(config, "report").lakehouse
    if not lake.catalog:
        create_views(lake, config, {need for spec in specs for need in spec.needs})
    sections = [(spec, read_report(lake, spec, arguments)) for spec in specs]
    origin = f"matchlake, environment {config.env}"
    page = render_page(sections, datetime.now(UTC), origin, dict(arguments))
    _write(out, page)
    problems = [each for spec, found in sections for each in problems_of(spec, found)]
    typer.echo(f"{out}: {len(sections)} report(s), {len(page) / 1000:.0f} kB")
    for each in problems:
        typer.echo(f"  {each}")
    if fail and problems:
        raise TableError(f"{len(problems)} widgets or fields have nothing to show; see above.")


def _write_dashboards(config: JobConfig, specs: Sequence[ReportSpec], folder: Path) -> None:
    from matchlake.lakehouse.views import fixed_views  # noqa: PLC0415 - brings Spark

    for spec in specs:
        _write(folder / f"{spec.name}.lvdash.json", render_dashboard(spec))
    views = {view.name: view.comment for view in fixed_views(config) if not view.has_measures}
    gold = {name: text for name, text in views.items() if name.startswith("gold.")}
    catalog = config.catalog or "main"
    measured = metric_views(config.ingest.batch_log, config.cluster_tables)
    space = render_genie_space(catalog, gold, measured, tuple(specs))
    _write(folder / GENIE, space)
    typer.echo(f"{folder}: {len(specs)} dashboard(s) and {GENIE} for the catalog {catalog}")


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from None
