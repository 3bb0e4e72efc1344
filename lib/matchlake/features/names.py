"""Names of output columns: readable, valid everywhere, unique, and the same at every fit."""

import re
import unicodedata

_LONGEST = 100


def stage_column(kind: str, feature: str = "") -> str:
    """The name of a column between two stages; no feature has it, because of the colon."""
    return f"{kind}:{feature}"


class Names:
    """Gives out column names that stay unique in engines that ignore case or accents."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def reserve(self, name: str) -> bool:
        """Takes `name` as it is; False if it, or a name that an engine may confuse, is taken."""
        key = _fold(name)
        free = key not in self._taken
        self._taken.add(key)
        return free

    def claim(self, feature: str, category: str) -> str:
        """A free name of the form `feature_Category`, with a number at the end if it is taken.

        Letters of any script with their marks, and digits, stay. Every run of other characters
        becomes one underscore: `genres` and `Sci-Fi` give `genres_Sci_Fi`. The empty text gives
        `genres_empty`.
        """
        words = _words(unicodedata.normalize("NFC", category))
        base = f"{feature}_{words or ('blank' if category else 'empty')}"[:_LONGEST]
        name, number = base, 1
        while not self.reserve(name):
            number += 1
            name = f"{base}_{number}"
        return name


def _words(text: str) -> str:
    """Words with their marks, such as the vowel signs of Indic and Thai scripts."""
    marks = "".join({c for c in text if unicodedata.category(c) in ("Mn", "Mc")})
    words = re.findall(rf"\w[\w{marks}]*", text)
    return "_".join(words).strip("_")


def _fold(name: str) -> str:
    """A key that is equal for names that some engine might take for the same."""
    plain = unicodedata.normalize("NFKD", name)
    return "".join(c for c in plain if not unicodedata.combining(c)).upper().casefold()
