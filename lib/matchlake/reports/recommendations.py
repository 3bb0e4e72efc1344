"""The report on recommendations: who gets them, of which items, and how good they are."""

from matchlake.reports.spec import Field, ReportSpec, Widget
from matchlake.schemas import INTERACTIONS, PREDICTED_RATINGS, RECOMMENDATIONS

_LISTS, _RATED, _PREDICTED = RECOMMENDATIONS.name, INTERACTIONS.name, PREDICTED_RATINGS.name
_TITLED = "gold.recommendations_with_titles"

_COUNTERS = (
    Widget(
        "users",
        "Users with recommendations",
        "counter",
        (_LISTS,),
        f"SELECT count(DISTINCT user_id) AS users FROM {_LISTS}",
        (Field("users", "number", "Users"),),
    ),
    Widget(
        "cold_start",
        "New users among them",
        "counter",
        (_LISTS,),
        "SELECT try_divide(count(DISTINCT CASE WHEN is_cold_start THEN user_id END),"
        f" count(DISTINCT user_id)) AS fraction FROM {_LISTS}",
        (Field("fraction", "percent", "Fraction"),),
        "Users without ratings when the model was fitted.",
    ),
    Widget(
        "coverage",
        "Catalogue coverage",
        "counter",
        (_LISTS, _RATED),
        "SELECT try_divide(count_if(listed.item_id IS NOT NULL), count(*)) AS fraction"
        f" FROM (SELECT DISTINCT item_id FROM {_RATED}) rated"
        f" LEFT JOIN (SELECT DISTINCT item_id FROM {_LISTS}) listed USING (item_id)",
        (Field("fraction", "percent", "Fraction"),),
        "Rated items that are in at least one list.",
    ),
    Widget(
        "accepted",
        "Recommendations rated since",
        "counter",
        (_LISTS, _RATED),
        "SELECT try_divide(count(r.item_id), count(*)) AS fraction"
        f" FROM {_LISTS} l LEFT JOIN {_RATED} r USING (user_id, item_id)",
        (Field("fraction", "percent", "Fraction"),),
        "The lists leave out what a user had rated, so these ratings came later.",
    ),
)

_CHARTS = (
    Widget(
        "rating_by_rank",
        "Mean rating of the items at each place",
        "line",
        (_LISTS, _RATED),
        f"SELECT rank, avg(mean) AS mean_rating FROM {_LISTS} JOIN"
        f" (SELECT item_id, avg(rating) AS mean FROM {_RATED} GROUP BY item_id) USING (item_id)"
        " GROUP BY rank ORDER BY rank",
        (Field("rank", "number", "Place in the list"), Field("mean_rating", "number", "Rating")),
        "The mean of all ratings of an item, averaged over the lists.",
    ),
    Widget(
        "items_by_popularity",
        "Recommendations by popularity of the item",
        "bar",
        (_LISTS, _RATED),
        "SELECT concat('tenth ', tenth) AS tenth, count(*) AS recommendations"
        f" FROM {_LISTS} JOIN (SELECT item_id, ntile(10) OVER (ORDER BY count(*) DESC, item_id)"
        f" AS tenth FROM {_RATED} GROUP BY item_id) p USING (item_id)"
        " GROUP BY p.tenth ORDER BY p.tenth",
        (
            Field("tenth", "text", "Tenth of the items, the most rated first"),
            Field("recommendations", "number", "Places in lists"),
        ),
    ),
)

_TABLES = (
    Widget(
        "most_recommended",
        "Items recommended most",
        "table",
        (_TITLED,),
        "SELECT item_id, any_value(title) AS title, count(*) AS users, avg(rank) AS mean_rank,"
        f" avg(score) AS mean_score FROM {_TITLED}"
        " GROUP BY item_id ORDER BY users DESC, item_id LIMIT 15",
        (
            Field("item_id", "text", "Item"),
            Field("title", "text", "Title"),
            Field("users", "number", "Users"),
            Field("mean_rank", "number", "Mean place"),
            Field("mean_score", "number", "Mean score"),
        ),
    ),
    Widget(
        "predicted_ratings",
        "Predicted ratings and ratings that came later",
        "table",
        (_PREDICTED, _RATED),
        "SELECT p.model_version, count(*) AS predictions, avg(p.rating) AS mean_predicted,"
        " count(r.rating) AS rated, sqrt(avg(pow(r.rating - p.rating, 2))) AS rmse"
        f" FROM {_PREDICTED} p LEFT JOIN {_RATED} r USING (user_id, item_id)"
        " GROUP BY p.model_version ORDER BY p.model_version",
        (
            Field("model_version", "text", "Model version"),
            Field("predictions", "number", "Predictions"),
            Field("mean_predicted", "number", "Mean prediction"),
            Field("rated", "number", "Rated since"),
            Field("rmse", "number", "RMSE"),
        ),
    ),
)

RECOMMENDATION_QUALITY = ReportSpec(
    "recommendations",
    "Recommendations: quality and coverage",
    "Who has recommendations, which items they show, and how users rated them afterwards.",
    (*_COUNTERS, *_CHARTS, *_TABLES),
)
