"""`matchlake bundle`: checks the bundle offline, and runs its jobs on this machine."""

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from matchlake.errors import BundleError

bundle_app = typer.Typer(
    no_args_is_help=True, help="Checks the Databricks bundle, and runs its jobs on this machine."
)

_ROOT = typer.Option(help="folder of databricks.yml")
_VARIABLE = typer.Option("--var", metavar="NAME=VALUE", help="sets a variable; may be repeated")
Root = Annotated[Path, _ROOT]
Variables = Annotated[list[str] | None, _VARIABLE]


@bundle_app.command()
def check(
    root: Root = Path(),
    var: Variables = None,
    target: Annotated[
        list[str] | None, typer.Option(help="only this target; may be repeated")
    ] = None,
) -> None:
    """Checks databricks.yml, its jobs and conf against the SDK's types and each other.

    Needs no workspace and no network. Exits with 1 if there is a problem.

    For example: matchlake bundle check --target dev --var catalog=my_catalog
    """
    from matchlake.dev.bundle.check import check_bundle, has_bundles  # noqa: PLC0415 - seconds

    console = Console()
    checked = check_bundle(root.resolve(), _assignments(var), target)
    found: dict[Any, list[str]] = {}
    for each in checked:
        for problem in each.problems:
            found.setdefault(problem, []).append(each.target)
    for problem, where in sorted(found.items()):
        only = "" if len(where) == len(checked) else f" (in {', '.join(where)})"
        console.print(f"{problem}{only}", markup=False, highlight=False, soft_wrap=True)
    for each in checked:
        console.print(
            f"{each.target}: {each.jobs} jobs, {each.tasks} tasks, {each.resources} resources, "
            f"{each.values} values: {len(each.problems) or 'no'} problem(s)",
            highlight=False,
        )
    if not has_bundles():
        console.print(
            "databricks-bundles is not installed: its types were not checked.", style="dim"
        )
    if found:
        raise typer.Exit(1)


@bundle_app.command()
def run(
    job: Annotated[str, typer.Argument(help="key of a job in the bundle")],
    target: Annotated[str, typer.Option(help="target of the run")] = "dev",
    root: Root = Path(),
    var: Variables = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="overrides a conf key"),
    ] = None,
) -> None:
    """Runs a job from its YAML on local Spark: its tasks in order, parameters, conditions.

    Tables, checkpoints and tracking are local; tables and models keep the target's names.

    For example: matchlake bundle run train_recommender --target dev
    """
    from matchlake.dev.bundle.resolve import read_bundle, resolve  # noqa: PLC0415 - seconds
    from matchlake.dev.bundle.workflow import (  # noqa: PLC0415
        LOCAL_CATALOG,
        TaskRun,
        Workflow,
        local_conf,
    )

    console = Console()

    def show(run: TaskRun) -> None:
        state = f"{run.job}.{run.task}: {run.state}"
        console.print(state + (f", {run.value}" * bool(run.value)) + f", {run.seconds:.1f} s")

    root = root.resolve()
    variables = {"catalog": LOCAL_CATALOG, **_assignments(var)}
    resolved = resolve(read_bundle(root), target, variables)
    if resolved.problems:
        raise BundleError("; ".join(map(str, resolved.problems)))
    sets = [part for text in overrides or [] for part in ("--set", text)]
    with tempfile.TemporaryDirectory(prefix="matchlake-conf-") as folder:
        conf = local_conf(target, root / "conf", Path(folder))
        Workflow(resolved, root, [*conf, *sets], show).run(job)


def _assignments(texts: list[str] | None) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts or []]
    wrong = [name for name, equals, _ in pairs if not equals]
    if wrong:
        raise BundleError(f"--var {wrong[0]!r} is not of the form NAME=VALUE.")
    return {name: value for name, _, value in pairs}
