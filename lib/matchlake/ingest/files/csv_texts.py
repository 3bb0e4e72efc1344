"""Decodes the text of CSV files, and reports bytes that cannot be decoded.

Spark replaces bytes that it cannot decode, without an error. So Spark reads a file as ISO 8859-1,
in which each byte is one character, and the rows are decoded here. This needs an encoding in which
the bytes of separators and line ends are never part of another character. Spark itself decodes the
others, and the replacement character shows what it could not decode.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from matchlake.ingest.files.encodings import BYTES, BYTES_CODEC
from matchlake.ingest.parse.cast_texts import undecodable
from matchlake.ingest.parse.safe_cast import Mask, mask_of

_REPLACEMENT = "\ufffd"
_MASK, _SECOND = 0xC0, 0x80
"""The upper bits of the second byte that UTF-8 has for a character."""
_MAX_ASCII = 127
Bounds = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]


def decoded(values: pa.Array, codec: str) -> tuple[pa.Array, Mask]:
    """Texts that were read as ISO 8859-1, in their own encoding, and the rows that fail.

    Failures are null. UTF-8 is not checked here: `check_columns` finds what is not UTF-8.
    """
    failed = np.zeros(len(values), bool)
    values = values.cast(pa.string())  # Spark may send large_string and large_binary
    bounds, data = _buffers(values)
    if codec == BYTES_CODEC or not len(data) or data.max() <= _MAX_ASCII:
        return values, failed
    raw = _raw(values, bounds, data)
    if codec == "utf-8":
        return raw.view(pa.string()), failed
    texts: list[str | None] = []
    for row, one in enumerate(raw.to_pylist()):
        try:
            texts.append(one if one is None else one.decode(codec))
        except UnicodeDecodeError:
            texts.append(None)
            failed[row] = True
    return pa.array(texts, pa.string()), failed


def replaced(values: pa.Array) -> Mask:
    """The rows in which Spark has replaced what it could not decode."""
    return mask_of(pc.match_substring(values, _REPLACEMENT))


def shown(values: pa.Array, codec: str) -> pa.Array:
    """Texts that were read as ISO 8859-1, for people: what cannot be decoded is replaced."""
    values = values.cast(pa.string())
    bounds, data = _buffers(values)
    if codec == BYTES_CODEC or not len(data) or data.max() <= _MAX_ASCII:
        return values
    raw = _raw(values, bounds, data).to_pylist()
    return pa.array([each and each.decode(codec, "replace") for each in raw], pa.string())


def valid_text(values: pa.Array) -> pa.Array:
    """Texts for people: bytes that are not UTF-8 are replaced."""
    values = values.cast(pa.string())
    if not undecodable(values).any():
        return values
    raw = values.view(pa.binary()).to_pylist()
    return pa.array([each and each.decode("utf-8", "replace") for each in raw], pa.string())


def _buffers(values: pa.Array) -> tuple[Bounds, Bytes]:
    """The bounds of the texts, and the bytes from the first to the last."""
    _, offsets, data = values.buffers()
    bounds = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1]
    whole = np.frombuffer(data or b"", np.uint8)
    return bounds - bounds[0], whole[bounds[0] : bounds[-1]]


def _raw(values: pa.Array, bounds: Bounds, data: Bytes) -> pa.Array:
    """The bytes of the file that each text stands for."""
    raw = data.tobytes().decode().encode(BYTES)
    # Of the two bytes that UTF-8 has for a character above 127, one is left.
    second = np.concatenate([[0], np.cumsum((data & _MASK) == _SECOND)])
    ends = (bounds - second[bounds]).astype(np.int32)
    parts = [pa.py_buffer(ends.tobytes()), pa.py_buffer(raw)]
    whole = pa.Array.from_buffers(pa.binary(), len(values), [None, *parts])
    return pc.if_else(values.is_valid(), whole, pa.scalar(None, pa.binary()))
