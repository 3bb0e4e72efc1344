"""Quartz's cron expressions, as its documentation gives them."""

import pytest

from matchlake.dev.bundle.cron import cron_problem


@pytest.mark.parametrize(
    "text",
    [
        "0 0 12 * * ?",
        "0 15 10 ? * MON-FRI",
        "0 15 10 * * ? 2005",
        "0 0/5 14,18 * * ?",
        "0 10,44 14 ? 3 WED",
        "0 15 10 L * ?",
        "0 15 10 L-2 * ?",
        "0 15 10 LW * ?",
        "0 15 10 15W * ?",
        "0 15 10 ? * 6L 2002-2005",
        "0 15 10 ? * 6#3",
        "0 0 12 1/5 * ?",
        "*/10 * * * jan-mar,dec ?",
    ],
)
def test_expressions_that_quartz_accepts(text: str) -> None:
    assert cron_problem(text) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "0 fields"),
        ("0 12 * * ?", "5 fields"),
        ("0 0 12 * * ? 2024 1", "8 fields"),
        ("0 60 12 * * ?", "'60' is no minute: 0 to 59"),
        ("0 0 24 * * ?", "'24' is no hour"),
        ("0 0 0 32 * ?", "'32' is no day of month"),
        ("0 0 0 0 * ?", "'0' is no day of month"),
        ("0 0 0 1 13 ?", "'13' is no month: 1 to 12, JAN"),
        ("0 0 0 ? * 0", "'0' is no day of week"),
        ("0 0 0 ? * 8", "'8' is no day of week"),
        ("0 0 0 ? * MON#6", "'MON#6' is no day of week"),
        ("0 0 0 ? * MOO", "'MOO' is no day of week"),
        ("0 0/0 0 * * ?", "'0/0' is no minute"),
        ("0 0 12 * * *", "exactly one of day of month and day of week"),
        ("0 0 12 ? * ?", "exactly one of day of month and day of week"),
        ("@daily", "1 fields"),
    ],
)
def test_expressions_that_quartz_rejects(text: str, said: str) -> None:
    assert said in str(cron_problem(text))
