"""Sample data of a shop: orders as messages, products as a file of the lake.

Each user buys mostly in two categories, so that a recommender has something to learn. The same
numbers give the same data.
"""

import csv
import io
import json
import random
from datetime import UTC, datetime, timedelta

CATEGORIES = ("bread", "cheese", "coffee", "fruit", "tea", "wine")
_SEED = 7
_USERS, _PER_CATEGORY, _ORDERS = 200, 12, 5_000
_FAITHFUL = 0.85
"""The fraction of orders in one of the user's own categories."""
_BEGIN = datetime(2026, 1, 1, 8, tzinfo=UTC)


def products_csv() -> str:
    """The products, as a CSV file: item_id, title, category, price."""
    draw = random.Random(_SEED)  # noqa: S311 - a repeatable draw, no secret
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["item_id", "title", "category", "price"])
    for category in CATEGORIES:
        for number in range(1, _PER_CATEGORY + 1):
            price = f"{draw.uniform(1, 30):.2f}"
            writer.writerow([_item(category, number), f"{category} no. {number}", category, price])
    return text.getvalue()


def order_lines() -> str:
    """The orders, one JSON message per line. The last message has no product and is quarantined."""
    draw = random.Random(_SEED)  # noqa: S311 - a repeatable draw, no secret
    own = {user: draw.sample(CATEGORIES, 2) for user in range(1, _USERS + 1)}
    lines = []
    for number in range(_ORDERS):
        user = draw.randint(1, _USERS)
        category = draw.choice(own[user] if draw.random() < _FAITHFUL else CATEGORIES)
        popular = min(draw.randint(1, _PER_CATEGORY), draw.randint(1, _PER_CATEGORY))
        time = _BEGIN + timedelta(minutes=17 * number)
        order = {
            "user_id": f"u{user}",
            "item_id": _item(category, popular),
            "amount": round(draw.uniform(1, 60), 2),
            "ordered_at": time.isoformat().replace("+00:00", "Z"),
        }
        lines.append(json.dumps(order))
    return "\n".join([*lines, '{"user_id": "u1", "amount": 3.5}']) + "\n"


def _item(category: str, number: int) -> str:
    return f"{category}-{number}"
