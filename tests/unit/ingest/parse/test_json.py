"""The JSON reader: every kind of value alone and among others, in one batch."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import strategies as st
from tests.support.cases import many
from tests.support.parsing import parsed
from tests.support.streams import COLUMNS, stream_entry

from matchlake.ingest.params import StreamParams
from matchlake.ingest.parse import json as json_values

STREAM = StreamParams.model_validate(stream_entry("t", "s"))
VALID: dict[str, Any] = {
    "user_id": "u",
    "item_id": "i",
    "rating": 4.5,
    "event_time": "2024-05-01T10:00:00.123Z",
}
TEXT = json.dumps(VALID)


def with_(**changes: Any) -> bytes:
    return json.dumps(VALID | changes).encode()


def put(old: str, new: str) -> bytes:
    assert old in TEXT
    return TEXT.replace(old, new).encode()


def parse(values: Sequence[bytes | None], stream: StreamParams = STREAM) -> list[dict[str, Any]]:
    return parsed(values, stream)


DEEP = "[" * 10_000 + "]" * 10_000
CASES: list[tuple[str, bytes | None, str | None]] = [
    ("valid", TEXT.encode(), None),
    ("spaces around", f" \t{TEXT}\r\n".encode(), None),
    ("newlines inside", json.dumps(VALID, indent=2).encode(), None),
    ("unknown fields", with_(client={"app": [1, "x", None]}), None),
    ("unknown field, very deep", put('"rating"', f'"x":{DEEP},"rating"'), None),
    ("integer as a key", with_(user_id=17), None),
    ("escaped name", put('"rating"', '"\\u0072ating"'), None),
    ("no zone", with_(event_time="2024-05-01 10:00:00"), None),
    ("nanoseconds", with_(event_time="2024-05-01T10:00:00.123456789Z"), None),
    ("none, as Go writes it", with_(event_time="0001-01-01T00:00:00Z"), None),
    ("more than seconds", with_(event_time="2024-05-01T10:00:00.1234567x"), "wrong_type"),
    ("other zone", with_(event_time="2024-05-01T10:00:00+02:00"), None),
    ("words like NaN", with_(title="x: NaN, Infinity"), None),
    ("bounds", with_(rating=0.5), None),
    ("tombstone", None, "tombstone"),
    ("empty", b"", "empty"),
    ("blank", b" \n\t", "empty"),
    ("not ASCII", put('"u"', '"ü€😀"'), None),
    ("not UTF-8", TEXT.encode().replace(b'"u"', b'"\xff"'), "invalid_utf8"),
    ("UTF-16", TEXT.encode("utf-16"), "invalid_utf8"),
    ("byte order mark", b"\xef\xbb\xbf" + TEXT.encode(), "malformed_json"),
    ("truncated", TEXT[:-5].encode(), "malformed_json"),
    ("truncated after a brace", b'{"x":{}', "malformed_json"),
    ("the rest of it", b',"y":1}', "malformed_json"),
    ("two objects", (TEXT * 2).encode(), "malformed_json"),
    ("two lines", f"{TEXT}\n{TEXT}".encode(), "malformed_json"),
    ("more fields after it", f'{TEXT},"q":2}}'.encode(), "malformed_json"),
    ("frame closed early", f'{TEXT}],"q":[{{}}'.encode(), "malformed_json"),
    ("NUL at the end", f"{TEXT}\0".encode(), "malformed_json"),
    ("NUL inside", f"{TEXT}\0}}".encode(), "malformed_json"),
    ("newline in a text", put('"u"', '"u\n"'), "malformed_json"),
    ("quote left open", b'{"user_id":"}', "malformed_json"),
    ("comment", put("{", "{/**/"), "malformed_json"),
    ("trailing comma", put("}", ",}"), "malformed_json"),
    ("single quotes", TEXT.replace('"', "'").encode(), "malformed_json"),
    ("NaN", put("4.5", "NaN"), "malformed_json"),
    ("-Infinity", put("4.5", "-Infinity"), "malformed_json"),
    ("unknown NaN", put("{", '{"x":NaN,'), "malformed_json"),
    ("leading zero", put("4.5", "04"), "malformed_json"),
    ("half a surrogate pair", put('"u"', '"\\ud800"'), "malformed_json"),
    ("twice", put("4.5", '4.5,"rating":4.5'), "malformed_json"),
    ("array", b"[1]", "not_an_object"),
    ("text", b'"x"', "not_an_object"),
    ("number", b"42", "not_an_object"),
    ("null", b"null", "not_an_object"),
    ("nothing but depth", DEEP.encode(), "malformed_json"),
    ("no fields", b"{}", "missing_field"),
    ("null field", with_(rating=None), "null_field"),
    ("null rather than missing", b'{"user_id":null}', "null_field"),
    ("text for number", with_(rating="4"), "wrong_type"),
    ("boolean for number", with_(rating=True), "wrong_type"),
    ("object for number", with_(rating={"stars": 4}), "wrong_type"),
    ("array for text", with_(user_id=["u"]), "wrong_type"),
    ("fraction for text", with_(user_id=1.5), "wrong_type"),
    ("number for time", with_(event_time=5), "wrong_type"),
    ("no such day", with_(event_time="2024-02-30T00:00:00Z"), "wrong_type"),
    ("no time at all", with_(event_time="yesterday"), "wrong_type"),
    ("empty time", with_(event_time=""), "wrong_type"),
    ("too much", with_(rating=5.01), "out_of_range"),
    ("too little", with_(rating=-1), "out_of_range"),
    ("beyond a double", put("4.5", "1e400"), "out_of_range"),
    ("thousands of digits", put("4.5", "1" * 5000), "out_of_range"),
]


@pytest.mark.parametrize("copies", [1, 7])
def test_each_kind_among_the_others_has_its_own_result(copies: int) -> None:
    rows = parse([value for _, value, _ in CASES * copies])
    for (name, _, reason), row in zip(CASES * copies, rows, strict=True):
        assert (name, row["_error_code"]) == (name, reason)
        assert row["_status"] == ("quarantined" if reason else "valid")
        assert (row["user_id"] is None) == (reason is not None)


def test_each_kind_alone_has_the_same_result() -> None:
    together = parse([value for _, value, _ in CASES])
    for (name, value, _), row in zip(CASES, together, strict=True):
        (alone,) = parse([value])
        assert (name, alone) == (name, row)


def test_values_equal_those_of_the_json() -> None:
    plain, integer, zone, none, deep, finer = parse(
        [
            with_(),
            with_(user_id=-17),
            with_(event_time="2024-05-01T10:00:00+02:00"),
            with_(event_time="2024-05-01T10:00"),
            put('"rating"', f'"x":{DEEP},"rating"'),
            with_(event_time="2024-05-01T12:00:00.1234567+02:00"),
        ]
    )
    assert (plain["user_id"], plain["rating"]) == ("u", 4.5)
    assert plain["event_time"].isoformat() == "2024-05-01T10:00:00.123000+00:00"
    assert integer["user_id"] == "-17"
    assert zone["event_time"].isoformat() == "2024-05-01T08:00:00+00:00"
    assert none["event_time"].isoformat() == "2024-05-01T10:00:00+00:00"
    assert deep["item_id"] == "i"
    assert finer["event_time"].isoformat() == "2024-05-01T10:00:00.123456+00:00"


def test_error_messages_name_the_cause() -> None:
    rows = parse([with_(rating="4"), with_(rating=7), with_(event_time="x" * 99), b"{}"])
    assert [row["_error_message"] for row in rows] == [
        "rating: expected double, found a text '4'",
        "rating: 7.0 is above 5",
        f"event_time: '{'x' * 59}... is not a valid timestamp",
        "user_id: is required",
    ]


@pytest.mark.parametrize(
    "others",
    [
        (TEXT[:-1], ',"more":1}'),
        ('{"x":{}', ',"y":1}'),
        ('{"user_id":"}', '{"}'),
        (f"{TEXT}\0}}", f"{TEXT}x"),
        ('{"x":[{}', "{}]}"),
    ],
)
def test_values_cannot_make_up_for_each_other(others: tuple[str, str]) -> None:
    """With the doubled one there are as many objects as values, if they are just joined."""
    values = [value.encode() for value in (TEXT, TEXT * 2, *others, TEXT)]
    found = [row["_status"] == "valid" for row in parse(values)]
    assert found == [True, False, False, False, True]


def test_one_invalid_value_in_ten_thousand_is_the_only_one_quarantined() -> None:
    values = [with_(user_id=f"u{n}") for n in range(10_000)]
    values[6_543] = values[6_543][:-1]
    bad = [place for place, row in enumerate(parse(values)) if row["_error_code"]]
    assert bad == [6_543]


def test_a_large_batch_is_read_in_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_values, "_AT_ONCE", 500)
    rows = parse([with_(user_id=f"u{n}") for n in range(50)])
    assert [row["user_id"] for row in rows] == [f"u{n}" for n in range(50)]


def test_nothing_in_nothing_out() -> None:
    assert parse([]) == []


def oracle(value: bytes, unknown_fields: str) -> bool:
    """Whether the standard library accepts the value as a valid event, by plain rules."""

    def no_constant(name: str) -> Any:
        raise ValueError(name)

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs if name in COLUMNS}) < sum(
            n in COLUMNS for n, _ in pairs
        ):
            raise ValueError("twice")
        return dict(pairs)

    try:
        event = json.loads(
            value.decode(),
            parse_int=lambda digits: int(digits[:99]),
            parse_constant=no_constant,
            object_pairs_hook=once,
        )
        json.dumps(event, ensure_ascii=False).encode()
    except ValueError:
        return False
    return (
        isinstance(event, dict)
        and (unknown_fields != "quarantine" or set(event) <= set(COLUMNS))
        and all(type(event.get(key)) in (str, int) for key in ("user_id", "item_id"))
        and all(
            abs(event[key]) < 2**63 for key in ("user_id", "item_id") if type(event[key]) is int
        )
        and type(event.get("rating")) in (int, float)
        and 0.5 <= event["rating"] <= 5
        and event.get("event_time") == VALID["event_time"]
    )


DIGITS = "1" * 5000
FIELD = st.one_of(
    st.just("digits"),
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.just([]),
    st.just({}),
)
EVENTS = st.fixed_dictionaries(
    {},
    optional={
        "user_id": st.one_of(st.text(max_size=9), FIELD),
        "item_id": st.one_of(st.text(max_size=9), FIELD),
        "rating": st.one_of(st.floats(0.5, 5), st.floats(0.5, 5), FIELD),
        "event_time": st.one_of(*[st.just(VALID["event_time"])] * 4, FIELD),
        "more": FIELD,
    },
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """An event's bytes with a few cut out, put in or replaced."""
    value = bytearray(json.dumps(draw(EVENTS), ensure_ascii=draw(st.booleans())).encode())
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(value)))
        until = at + draw(st.integers(0, 3))
        value[at:until] = draw(
            st.one_of(st.binary(max_size=3), st.sampled_from([b"{", b"}", b'"', b"\n"]))
        )
    return bytes(value)


LIKELY = st.fixed_dictionaries(
    {"user_id": st.one_of(st.text(), st.integers()), "rating": st.floats(0.4, 5)},
    optional={"more": FIELD},
)
VALUES = st.one_of(
    LIKELY.map(lambda event: json.dumps(VALID | event).encode()),
    EVENTS.map(lambda event: json.dumps(VALID | event).replace('"digits"', DIGITS).encode()),
    mutated(),
    st.binary(max_size=60),
)


@pytest.mark.parametrize("unknown_fields", ["ignore", "quarantine", "rescue"])
@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.soak)])
def test_random_values_are_parsed_as_the_standard_library_does(
    count: int, unknown_fields: str
) -> None:
    stream = StreamParams.model_validate(stream_entry("t", "s", unknown_fields=unknown_fields))
    values = many(VALUES, count)
    rows = parse(values, stream)
    for value, row in zip(values, rows, strict=True):
        assert (value, row["_status"] == "valid") == (value, oracle(value, unknown_fields))
    assert 0.1 < sum(row["_status"] == "valid" for row in rows) / count < 0.85, "both were drawn"
    half = [row["_status"] for row in parse(values[1::2], stream)]
    assert half == [row["_status"] for row in rows[1::2]], "others do not matter"


class CountedReads:
    """The number of texts that Arrow read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._read = json_values.JsonReader._parse
        monkeypatch.setattr(json_values.JsonReader, "_parse", self._counted())

    def _counted(self) -> Any:
        def parse(reader: Any, *given: Any) -> Any:
            self.count += 1
            return self._read(reader, *given)

        return parse


HALF = '"\\ud83d"'
SLOW = {
    "a field twice": '"rating":1,"rating":1',
    "a field twice, first null": '"rating":null,"rating":1',
    "half a pair": f'"rating":1,"note":{HALF}',
    "half a pair, low": '"rating":1,"note":"x\\uDE00"',
    "half a pair, in a name": f'{HALF}:1,"rating":1',
    "half a pair after an escape": '"rating":1,"note":"\\\\\\ud83dx"',
    "a number near zero": '"rating":1e-400',
    "a huge exponent": '"rating":1,"x":1e999999',
}


@pytest.mark.parametrize("name", SLOW)
def test_values_that_only_arrow_rejects_are_found_without_halving(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = put('"rating": 4.5', SLOW[name])
    (alone,) = parse([bad])
    reads = CountedReads(monkeypatch)
    rows = parse([value for n in range(500) for value in (with_(user_id=f"u{n}"), bad)])
    assert rows[1::2] == [alone] * 500
    assert {row["_status"] for row in rows[::2]} == {"valid"}
    assert reads.count <= 4


def test_doubled_or_halved_texts_that_are_valid_stay_valid() -> None:
    rows = parse(
        [
            put('"rating": 4.5', '"rating":4.5,"x":1,"x":2'),
            put('"rating": 4.5', '"rating":4.5,"x":{"rating":1,"rating":1}'),
            put('"rating": 4.5', '"rating":4.5,"x":"\\ud83d\\uDE00 \\\\ud800 \\u00e9 \\n"'),
            b"{",
        ]
    )
    assert [row["_error_code"] for row in rows] == [None] * 3 + ["malformed_json"]


def test_a_nested_field_that_occurs_twice_is_named() -> None:
    columns = COLUMNS | {"user_id": COLUMNS["user_id"] | {"path": "user.id"}}
    stream = StreamParams.model_validate(stream_entry("t", "s", columns=columns))
    twice = put('"user_id": "u"', '"user":{"id":"a","id":"b"}')
    above = put('"user_id": "u"', '"user":{"id":"a"},"user":{"id":"b"}')
    other = put('"user_id": "u"', '"user":{"id":"a","x":1,"x":2}')
    messages = [row["_error_message"] for row in parse([twice, above, other], stream)]
    assert messages == ["the field user.id occurs twice", "the field user occurs twice", None]


def test_many_values_that_nothing_foresees_are_read_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So deep that Python leaves them to Arrow, and with a field twice."""
    deep = "[" * 1500 + "]" * 1500
    bad = put('"rating": 4.5', f'"x":{deep},"rating":1,"rating":1')
    reads = CountedReads(monkeypatch)
    rows = parse([bad] * 600 + [with_()])
    assert {row["_error_code"] for row in rows[:-1]} == {"malformed_json"}
    assert rows[-1]["_status"] == "valid"
    assert reads.count < 1.3 * 601
