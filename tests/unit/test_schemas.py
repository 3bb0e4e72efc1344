"""Names that reach SQL are plain identifiers; texts and other names are quoted."""

import pytest

from matchlake.errors import SchemaError
from matchlake.schemas import check_name, quote_identifier, quote_text


@pytest.mark.parametrize(
    "name", ["a", "a.b.c", "a.b;drop", "a.`b`", "1a.b", "a.b c", "a.", ".b", "", "a.ü", "../a.b"]
)
def test_a_name_that_is_not_two_identifiers_is_rejected(name: str) -> None:
    with pytest.raises(SchemaError, match="not a valid name"):
        check_name(name)


def test_a_plain_name_passes() -> None:
    assert check_name("bronze.rating_events") == "bronze.rating_events"
    assert check_name("c.s.t", parts=3) == "c.s.t"


def test_quotes_are_escaped() -> None:
    assert quote_text("it's a \\ and\na line") == r"'it\'s a \\ and\na line'"
    assert quote_identifier("a`b") == "`a``b`"
