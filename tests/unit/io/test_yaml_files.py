"""Plain values stay what they look like; keys know their lines; no key stands twice."""

from pathlib import Path
from typing import Any

import pytest

from matchlake.errors import ConfigError
from matchlake.io.yaml_files import parse_value, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("1", 1), ("-5", -5), ("0", 0), ("1.5", 1.5), ("1e3", 1000.0), (".5", 0.5)),
        *(("true", True), ("False", False), ("~", None), ("", None), ("null", None)),
        *(("yes", "yes"), ("no", "no"), ("on", "on"), ("010", "010"), ("0x1F", "0x1F")),
        *(("12:30", "12:30"), ("2024-05-01", "2024-05-01"), ("1_000", "1_000"), (".", ".")),
        *(("'1'", "1"), ("[no, 1]", ["no", 1]), ("{a: off}", {"a": "off"})),
        ("{<<: {a: 1}, b: 2}", {"a": 1, "b": 2}),
    ],
)
def test_plain_value_is_read_by_the_core_schema(text: str, value: Any) -> None:
    read = parse_value(text)
    assert (read, type(read)) == (value, type(value))


def test_every_key_has_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.yml"
    path.write_text("a: 1\nb:\n  c: {d: 2}\n  e:\n    - x\n    - y\n")
    file = read_yaml(path)
    assert file.data == {"a": 1, "b": {"c": {"d": 2}, "e": ["x", "y"]}}
    assert file.lines == {
        ("a",): 1,
        ("b",): 2,
        ("b", "c"): 3,
        ("b", "c", "d"): 3,
        ("b", "e"): 4,
        ("b", "e", "0"): 5,
        ("b", "e", "1"): 6,
    }


def test_repeated_key_is_refused_with_both_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.yml"
    path.write_text("a:\n  b: 1\n  c: 2\n  b: 3\n")
    with pytest.raises(ConfigError, match=r"a\.yml:4: a\.b is set twice; first in line 2"):
        read_yaml(path)


def test_file_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.yml"
    path.write_bytes(b"a: \xe9\n")
    with pytest.raises(ConfigError, match="is not UTF-8: byte 3"):
        read_yaml(path)
