"""Names of output columns: readable, valid everywhere, unique, and the same at every fit."""

import re
import unicodedata

_LONGEST = 100


def between(kind: str, feature: str = "") -> str:
    """The name of a column that one stage leaves to the next: no feature's, for want of a colon."""
    return f"{kind}:{feature}"


class Names:
    """Hands out column names that are unique whatever the engine makes of case and accents."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def reserve(self, name: str) -> bool:
        """Takes `name` as it is; False where it, or one that an engine may confuse, is taken."""
        key = _fold(name)
        free = key not in self._taken
        self._taken.add(key)
        return free

    def claim(self, feature: str, category: str) -> str:
        """A free name of the form `feature_Category`; a number follows where that is taken.

        Letters of any script with their marks, and digits, stay; every run of anything else becomes
        one underscore: `genres`, `Sci-Fi` gives `genres_Sci_Fi`, and the empty text `genres_empty`.
        """
        words = _words(unicodedata.normalize("NFC", category))
        wanted = f"{feature}_{words or ('blank' if category else 'empty')}"[:_LONGEST]
        name, number = wanted, 1
        while not self.reserve(name):
            number += 1
            name = f"{wanted}_{number}"
        return name


def _words(text: str) -> str:
    """Marks stay with the letters before them: vowel signs of Indic and Thai scripts are such."""
    marks = "".join({c for c in text if unicodedata.category(c) in ("Mn", "Mc")})
    found = re.findall(rf"\w[\w{marks}]*", text)
    return "_".join(found).strip("_")


def _fold(name: str) -> str:
    """Equal for names that any engine might hold to be the same."""
    plain = unicodedata.normalize("NFKD", name)
    return "".join(c for c in plain if not unicodedata.combining(c)).upper().casefold()
