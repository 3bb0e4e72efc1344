"""Exports a recommender as one ONNX graph: reads a user's id, returns the best new items.

| input | is |
|---|---|
| `user_id` | string [1]: the id as a string |
| `exclude` | string [n]: items to leave out, besides those that the user had in the fit |
| `k` | integer [1]: the maximum length of the list |

| output | is |
|---|---|
| `item_id` | strings, best first; ties in the order of the model's items |
| `score` | single precision, one per item |

An unknown user gets the model's list for unknown users.
"""

import numpy as np

from matchlake.engine.csr import Csr
from matchlake.formulas.onnx import Graph
from matchlake.recommender.onnx_scores import ListsByUser, list_of, place_of
from matchlake.recommender.protocol import NumpyRecommender

USER, EXCLUDE, K = "user_id", "exclude", "k"
ITEM, SCORE = "item_id", "score"


def recommender_graph(model: NumpyRecommender, seen: Csr | None) -> bytes:
    """Returns the graph of a model, with the items that each user had in the fit, if known.

    Raises ParameterError for a model whose scores are not sums of products.
    """
    graph = Graph()
    user, exclude = graph.input(USER, "STRING", [1]), graph.input(EXCLUDE, "STRING", ["excluded"])
    most = graph.input(K, "INT64", [1])
    items = [str(key) for key in model.item_ids]
    scores = model.onnx_scores(graph, user)
    left_out = graph.codes(exclude, {key: row for row, key in enumerate(items)}, len(items))
    if seen is not None:
        lists = ListsByUser(seen.indptr.astype(np.int64), seen.columns.astype(np.int64))
        had, _ = list_of(graph, place_of(graph, user, model.user_ids), lists)
        left_out = graph.add("Concat", left_out, had, axis=0)
    kept = _without(graph, scores, left_out, len(items))
    best, places = graph.add_two("TopK", kept, _at_most(graph, most, len(items)), axis=1, largest=1)
    flat = graph.integers([-1])
    best, places = (graph.add("Reshape", each, flat) for each in (best, places))
    listed = graph.add("Greater", best, graph.constant(np.float32(-np.inf)))
    chosen = graph.add("Compress", places, listed, axis=0)
    graph.output(ITEM, graph.label(chosen, items), "STRING", ["items"])
    graph.output(SCORE, graph.add("Compress", best, listed, axis=0), "FLOAT", ["items"])
    return graph.to_bytes("recommender", {})


def _without(graph: Graph, scores: str, left_out: str, count: int) -> str:
    """Returns the scores [1, items], negative infinity where an item is left out.

    Unknown items are scattered into an additional last column, which is then removed.
    """
    room = graph.constant(np.zeros((1, 1), np.float32))
    wide = graph.add("Concat", scores, room, axis=1)
    rows = graph.add("Unsqueeze", left_out, graph.integers([0]))
    lowest = graph.constant(np.float32(-np.inf))
    values = graph.add("Expand", lowest, graph.add("Shape", rows))
    marked = graph.add("ScatterElements", wide, rows, values, axis=1)
    return graph.sliced(marked, 0, count, 1)


def _at_most(graph: Graph, k: str, count: int) -> str:
    return graph.add("Min", k, graph.integers([count]))
