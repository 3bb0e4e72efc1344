"""Errors that the product raises in more than one place."""

from matchlake.errors import SchemaError


def test_schema_error_missing_names_available_and_nearest() -> None:
    error = SchemaError.missing("the pairs", ["user", "x"], ["user_id", "item_id"])
    assert isinstance(error, SchemaError)
    assert str(error) == (
        "Missing column(s) in the pairs: user, x. Available: user_id, item_id. "
        "Did you mean user_id instead of user?"
    )


def test_schema_error_missing_without_columns_says_none() -> None:
    text = str(SchemaError.missing("the input", ["x"], []))
    assert text == "Missing column(s) in the input: x. Available: none."
