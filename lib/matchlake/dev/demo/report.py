"""The closing pages of the demos: records, tables, metrics, recommendations, what to try."""

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from matchlake.dev.sandbox.publish import Published
from matchlake.lakehouse.views import create_views
from matchlake.runtime import Runtime

_USERS = ("1", "405", "943")
_BEST = 3
_METRICS = ("ndcg_at_10", "recall_at_20", "hit_rate_at_10", "rmse", "mae", "interval_coverage_90")
_QUERIES = (
    (
        "Predicted ratings of a new user, a student of 24 without ratings",
        ("title", "rating", "low", "high", "is_cold_start"),
        (
            "SELECT title, rating, low, high, is_cold_start "
            "FROM gold.predicted_ratings_with_titles "
            "WHERE user_id = 'newcomer' ORDER BY rating DESC, title LIMIT 5"
        ),
    ),
    (
        "Related films",
        ("title", "rank", "related", "score"),
        (
            "SELECT r.title, r.rank, related_title, score FROM gold.related_items_with_titles r "
            "JOIN (SELECT item_id FROM bronze.items WHERE title IN ('Toy Story', 'Alien', "
            "'Star Wars')) USING (item_id) WHERE r.rank <= 3 ORDER BY r.title, r.rank"
        ),
    ),
    (
        "Related users",
        ("user_id", "rank", "related_user_id", "score"),
        (
            "SELECT user_id, rank, related_user_id, score FROM gold.related_users "
            "WHERE user_id IN ('1', '405', '943') AND rank <= 2 ORDER BY user_id, rank"
        ),
    ),
    (
        "Estimated effects of features on the rating",
        ("side", "feature", "effect", "effect_std", "effect_heterogeneity"),
        (
            "SELECT side, feature, effect, effect_std, effect_heterogeneity "
            "FROM gold.feature_effects "
            "ORDER BY abs(effect) DESC LIMIT 6"
        ),
    ),
)
_NEXT = (
    'matchlake sql --env demo "SELECT * FROM gold.top_items ORDER BY rank LIMIT 10"',
    "matchlake sql --env demo                     a prompt; `tables` lists tables and views",
    "matchlake profile silver.interactions --env demo --column rating",
    "matchlake report all --env demo --user 42 --out report.html",
    "matchlake erase-user 42 --env demo --dry-run",
    "matchlake run train_model --env demo         another model: the age of users",
    "matchlake models history recommender --env demo",
)
_NEXT_ANYWHERE = (
    "matchlake mlflow                             runs, metrics and models in a browser",
    "matchlake sandbox start                      the broker again; `matchlake sandbox stop`",
)
_NOTEBOOKS = "matchlake notebooks                          writes the notebooks for Jupyter"


def print_page(
    console: Console,
    runtimes: tuple[Runtime, Runtime],
    published: Published,
    seconds: Mapping[str, float],
) -> None:
    """Prints the page; runs a few queries.

    The second runtime is that of the rating model.
    """
    runtime, rater = runtimes
    create_views(runtime.lakehouse, runtime.config)
    console.rule("[bold]results", align="left", style="dim")
    console.print(_records(runtime, published))
    console.print(_tables(runtime))
    console.print(_metrics(runtime))
    console.print(_metrics(rater))
    console.print(_recommendations(runtime))
    for title, columns, query in _QUERIES:
        rows = runtime.spark.sql(query).collect()
        console.print(_grid(title, columns, map(tuple, rows)))
    print_end(console, seconds, [*_NEXT, _NOTEBOOKS])


def print_answer(console: Console, runtime: Runtime, query: str) -> None:
    """Prints a query and its rows."""
    frame = runtime.spark.sql(query)
    console.print(_grid(query, frame.columns, map(tuple, frame.collect())))


def print_end(console: Console, seconds: Mapping[str, float], commands: Sequence[str]) -> None:
    """Prints the whole time, what is left, and what to try next."""
    console.print(
        f"[bold]{sum(seconds.values()):.0f} s in all.[/] Nothing is left running. Tables, runs and "
        "the broker's data stay in .lakehouse.",
        highlight=False,
    )
    console.print("[bold]Try next[/]")
    for command in (*commands, *_NEXT_ANYWHERE):
        console.print(f"  {command}", highlight=False, markup=False, overflow="fold")


def _grid(title: str, columns: Iterable[str], rows: Iterable[Sequence[object]]) -> Table:
    """A table of texts and numbers; numbers are right-aligned."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    cells = [list(row) for row in rows]
    for at, name in enumerate(columns):
        numeric = all(isinstance(row[at], int | float) for row in cells)
        table.add_column(name, justify="right" if numeric else "left", header_style="dim")
    for row in cells:
        table.add_row(*(Text(_cell(value)) for value in row))
    return table


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _records(runtime: Runtime, published: Published) -> Text:
    """The records in the topic, compared with the rows of all runs."""
    name = runtime.lakehouse.name(runtime.config.streams["rating_events"].table)
    rows = runtime.spark.sql(f"SELECT _status, count(*) FROM {name} GROUP BY _status").collect()
    counts: dict[str, int] = {row[0]: row[1] for row in rows}
    in_topic = published.sent + published.found
    verdict = "reconciled" if sum(counts.values()) == in_topic else "NOT RECONCILED"
    kinds = [kind for kind in ("valid", "quarantined", "erased") if kind in counts]
    listed = " + ".join(f"{kind} {counts[kind]:,}" for kind in kinds)
    return Text(f"Records in the topic {in_topic:,} = {listed} ({verdict})")


def _tables(runtime: Runtime) -> Table:
    lake = runtime.lakehouse
    rows = [(name, lake.read(name).count()) for name in lake.register_tables()]
    return _grid("Tables", ("table", "rows"), rows)


def _metrics(runtime: Runtime) -> Table:
    """The metrics of the champion and the baselines, on the same test part."""
    champion = runtime.tracker.require_champion()
    metrics = runtime.tracker.metrics(champion)
    shown = [metric for metric in _METRICS if metric in metrics]
    others = sorted({name.split("/")[0] for name in metrics if name.partition("/")[2] in shown})
    rows = [("champion", *(metrics[metric] for metric in shown))]
    rows += [
        (other, *(metrics.get(f"{other}/{metric}", "-") for metric in shown)) for other in others
    ]
    title = f"Metrics on held-out data ({champion.name}, version {champion.version})"
    return _grid(title, ("model", *shown), rows)


def _recommendations(runtime: Runtime) -> Table:
    name = runtime.lakehouse.name("gold.recommendations_with_titles")
    users = ", ".join(f"'{user}'" for user in _USERS)
    rows = runtime.spark.sql(
        f"SELECT user_id, rank, title, score FROM {name} "
        f"WHERE user_id IN ({users}) AND rank <= {_BEST} ORDER BY user_id, rank"
    ).collect()
    return _grid("Recommendations", ("user_id", "rank", "title", "score"), map(tuple, rows))
