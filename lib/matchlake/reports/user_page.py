"""The report on one user: their ratings, their recommendations, similar users."""

from matchlake.reports.spec import Field, ReportSpec, Widget
from matchlake.schemas import INTERACTIONS, RECOMMENDATIONS, RELATED_USERS

_RATED, _LISTS, _RELATED = INTERACTIONS.name, RECOMMENDATIONS.name, RELATED_USERS.name
_TITLED = "gold.recommendations_with_titles"
_INTERVALS = "gold.predicted_ratings_with_titles"

USER_PAGE = ReportSpec(
    "user",
    "A user's page",
    "What one user rated, what the champion recommends to them, and which users rate similarly.",
    (
        Widget(
            "ratings",
            "Ratings",
            "counter",
            (_RATED,),
            f"SELECT count(*) AS ratings FROM {_RATED} WHERE user_id = :user_id",
            (Field("ratings", "number", "Ratings"),),
        ),
        Widget(
            "mean_rating",
            "Mean rating",
            "counter",
            (_RATED,),
            f"SELECT avg(rating) AS rating FROM {_RATED} WHERE user_id = :user_id",
            (Field("rating", "number", "Rating"),),
        ),
        Widget(
            "last_rating",
            "Last rating",
            "counter",
            (_RATED,),
            f"SELECT max(event_time) AS event_time FROM {_RATED} WHERE user_id = :user_id",
            (Field("event_time", "time", "Time"),),
        ),
        Widget(
            "recommendations",
            "Recommendations",
            "table",
            (_TITLED,),
            f"SELECT rank, item_id, title, score, model_version FROM {_TITLED}"
            " WHERE user_id = :user_id ORDER BY rank",
            (
                Field("rank", "number", "Place"),
                Field("item_id", "text", "Item"),
                Field("title", "text", "Title"),
                Field("score", "number", "Score"),
                Field("model_version", "text", "Model version"),
            ),
        ),
        Widget(
            "ratings_by_value",
            "Ratings by value",
            "bar",
            (_RATED,),
            f"SELECT CAST(rating AS STRING) AS rating, count(*) AS items FROM {_RATED}"
            f" WHERE user_id = :user_id GROUP BY {_RATED}.rating ORDER BY {_RATED}.rating DESC"
            " LIMIT 12",
            (Field("rating", "text", "Rating"), Field("items", "number", "Items")),
        ),
        Widget(
            "related_users",
            "Users with similar ratings",
            "bar",
            (_RELATED,),
            f"SELECT related_user_id AS user, score FROM {_RELATED}"
            " WHERE user_id = :user_id ORDER BY rank LIMIT 12",
            (Field("user", "text", "User"), Field("score", "number", "Distance")),
            "The distance of both users' ratings; 0 is equal.",
        ),
        Widget(
            "predicted_ratings",
            "Predicted ratings",
            "table",
            (_INTERVALS,),
            f"SELECT title, rating, low, high FROM {_INTERVALS} WHERE user_id = :user_id"
            " ORDER BY rating DESC, item_id LIMIT 20",
            (
                Field("title", "text", "Title"),
                Field("rating", "number", "Predicted"),
                Field("low", "number", "Low"),
                Field("high", "number", "High"),
            ),
            "Nine of ten ratings are expected between low and high.",
        ),
    ),
    {"user_id": "User"},
)
