"""What a Genie space needs to answer analysts: its tables, instructions, and example questions."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from matchlake.reports.spec import ReportSpec
from matchlake.schemas import ViewSpec

_RULES = (
    "Times are in UTC.",
    "Answer from the views of gold first; bronze holds records as received.",
    "A rate is sum of the part divided by sum of the whole, never a mean of rates.",
    "Use measure(name) for columns of a metric view, grouped by its dimensions.",
    "user_id and item_id are texts: compare them with quoted values.",
    "The champion is the version of a model that serves. A challenger was not better than it.",
)


def render_genie_space(
    catalog: str,
    views: Mapping[str, str],
    metric_views: tuple[ViewSpec, ...],
    specs: tuple[ReportSpec, ...],
) -> str:
    """The serialized space, version 2: `views` are names and comments of tables and views.

    The example questions are the titles of the widgets, with their queries. Reports with parameters
    give none, as they hold ids of users.
    """
    examples = [
        {
            "id": _id(spec.name, each.name),
            "question": [each.title],
            "sql": [_in(catalog, each.query)],
        }
        for spec in specs
        if not spec.parameters
        for each in spec.widgets
        if each.kind != "counter"
    ]
    data: dict[str, Any] = {
        "version": 2,
        "config": {
            "sample_questions": _sorted(
                {"id": _id("sample", str(each["id"])), "question": each["question"]}
                for each in examples
            )
        },
        "data_sources": {
            "tables": [
                {"identifier": f"{catalog}.{name}", "description": [comment]}
                for name, comment in sorted(views.items())
            ],
            "metric_views": [
                {"identifier": f"{catalog}.{view.name}", "description": [view.comment]}
                for view in sorted(metric_views, key=lambda each: each.name)
            ],
        },
        "instructions": {
            "text_instructions": [
                {"id": _id("instructions"), "content": [f"{rule}\n" for rule in _RULES]}
            ],
            "example_question_sqls": _sorted(examples),
        },
    }
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def _in(catalog: str, query: str) -> str:
    """The query for a space, which has no default catalog."""
    for schema in ("bronze", "silver", "gold"):
        query = query.replace(f" {schema}.", f" {catalog}.{schema}.")
    return query


def _sorted(entries: Any) -> list[dict[str, Any]]:
    """The service asks for entries in the order of their ids."""
    return sorted(entries, key=lambda each: each["id"])


def _id(*parts: str) -> str:
    """A stable id of 32 hexadecimal digits, so that a second deployment changes nothing."""
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:32]
