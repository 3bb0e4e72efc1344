"""The encodings that a CSV file may have. Imports no Spark."""

import codecs
from functools import cache

BYTES = "iso-8859-1"
"""The encoding with which Spark reads the bytes of a file."""
BYTES_CODEC = codecs.lookup(BYTES).name
_ASCII = bytes(range(128)).decode("ascii")
_LINE_ENDS = "\r\n"
_JAVA_NAMES = {"windows-31j": "cp932", "ms932_0213": "shift_jisx0213"}
_NO_ENCODINGS = {"idna", "punycode", "unicode_escape", "raw_unicode_escape", "utf-8-sig"}
"""The codecs of Python that are not encodings of files."""


def codec_of(encoding: str) -> str | None:
    """The name of Python's codec for a Python or Java encoding name; None if there is no codec."""
    lower = encoding.lower().removeprefix("x-")
    for name in (encoding, _JAVA_NAMES.get(lower, lower)):
        try:
            codec = codecs.lookup(name).name
            if codec not in _NO_ENCODINGS and "a".encode(codec).decode(codec) == "a":
                return codec
        except (LookupError, ValueError):
            continue
    return None


@cache
def keeps_bytes(codec: str, characters: str) -> bool:
    """Whether the bytes of these characters and of line ends are never part of another character.

    The encoding must hold ASCII as it is, and must not switch between sets of characters.
    """
    if _ASCII.encode(codec, "replace") != _ASCII.encode() or _is_stateful(codec):
        return False
    texts = [each.encode(codec, "replace") for each in characters]
    if codec != "utf-8" and any(len(text) > 1 for text in texts):
        return False
    used = {byte for each in characters + _LINE_ENDS for byte in each.encode(codec, "replace")}
    ascii_ = [byte for byte in used if byte < len(_ASCII)]
    return not any(_is_second(codec, byte) for byte in ascii_)


def as_bytes(text: str, codec: str) -> str:
    """A text in the form that it has in a file that is read as ISO 8859-1."""
    return text.encode(codec).decode(BYTES)


def _is_stateful(codec: str) -> bool:
    """Whether some character above 127 has only bytes below 128, as in ISO 2022 and UTF-7."""
    for text in "äжあ你한":
        raw = text.encode(codec, "ignore")
        if raw and max(raw) < len(_ASCII):
            return True
    return False


def _is_second(codec: str, byte: int) -> bool:
    """Whether a character of several bytes can hold the byte after its first."""
    for first in range(len(_ASCII), 256):
        for rest in (bytes([byte]), bytes([byte, 0x81]), bytes([byte, 0x81, 0x30])):
            try:
                if len((bytes([first]) + rest).decode(codec)) == 1:
                    return True
            except UnicodeDecodeError:
                continue
    return False
