"""Encodings of CSV files: their names, and texts whose bytes are seen."""

import pyarrow as pa
import pytest

from matchlake.ingest.files.csv_texts import decoded, shown, valid_text
from matchlake.ingest.files.encodings import BYTES, as_bytes, codec_of, keeps_bytes
from matchlake.ingest.files.params import CsvFileOptions

TEXTS = ["Jörg", "K€ln", None, "x", "", "é" * 5]


def as_spark_reads(texts: list[bytes | None]) -> pa.Array:
    return pa.array([text if text is None else text.decode(BYTES) for text in texts], pa.string())


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("cp1252", "cp1252"),
        ("windows-1252", "cp1252"),
        ("Cp1252", "cp1252"),
        ("x-MacRoman", "mac-roman"),
        ("windows-31j", "cp932"),
        ("IBM850", "cp850"),
        ("latin1", "iso8859-1"),
        ("UTF8", "utf-8"),
        ("rot13", None),
        ("base64", None),
        ("nope", None),
    ],
)
def test_codec_by_python_or_java_name(name: str, codec: str | None) -> None:
    assert codec_of(name) == codec


def test_keeps_bytes_if_no_character_holds_them() -> None:
    assert keeps_bytes("utf-8", ',"¦')
    assert keeps_bytes("cp1252", "|\\§")
    assert keeps_bytes("shift_jis", ',"')
    assert not keeps_bytes("shift_jis", '|"')
    assert not keeps_bytes("gb18030", '1"')
    assert not any(keeps_bytes(codec, ',"') for codec in ("iso2022_jp", "utf-7", "cp037", "utf-16"))


@pytest.mark.parametrize("codec", ["utf-8", "cp1252", "gb18030", "iso8859-15"])
def test_decoded_texts_are_those_of_the_file(codec: str) -> None:
    values = as_spark_reads([text if text is None else text.encode(codec) for text in TEXTS])
    for start in range(len(TEXTS)):
        texts, failed = decoded(values.slice(start), codec)
        assert texts.to_pylist() == TEXTS[start:]
        assert not failed.any()
    assert shown(values, codec).to_pylist() == TEXTS


def test_decoded_bytes_that_the_encoding_lacks() -> None:
    values = as_spark_reads([b"\x81", "ä".encode("cp1252"), None])
    texts, failed = decoded(values, "cp1252")
    assert texts.to_pylist() == [None, "ä", None]
    assert failed.tolist() == [True, False, False]
    raw, _ = decoded(values, "utf-8")
    assert raw.view(pa.binary()).to_pylist() == [b"\x81", b"\xe4", None]
    assert shown(values, "utf-8").to_pylist() == ["\ufffd", "\ufffd", None]
    assert valid_text(raw).to_pylist() == ["\ufffd", "\ufffd", None]
    assert decoded(values, "iso8859-1")[0].to_pylist() == ["\x81", "ä", None]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"encoding": "nope"}, "encoding nope is unknown: use a name such as utf-8, cp1252"),
        ({"encoding": "utf-16"}, "encoding utf-16 needs multiline: true"),
        ({"encoding": "gbk", "separator": "|"}, "as part of other characters: choose"),
        ({"encoding": "us-ascii", "separator": "¦"}, "us-ascii does not have the separator '¦'"),
        ({"quote": "«"}, "the quote '«' must have one byte in utf-8"),
    ],
)
def test_csv_options_with_an_impossible_encoding(options: dict[str, str], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        CsvFileOptions.model_validate(options)


def test_csv_options_are_read_as_bytes() -> None:
    options = CsvFileOptions(encoding="cp1252", separator="§")
    assert (options.read_as, options.row_options["sep"]) == (BYTES, "§")
    assert CsvFileOptions(separator="¦").row_options["sep"] == as_bytes("¦", "utf-8") == "Â¦"
    assert CsvFileOptions(encoding="utf-16", multiline=True).read_as == "utf-16"
