"""What the shape of a recognised line tells about the script that was on the paper."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

Vector = np.ndarray[tuple[int], np.dtype[np.float32]]

# Steps at which a number is turned into on-or-off features, so that a linear model can follow curves.
SCORE_STEPS = (0.05, 0.55, 0.65, 0.75, 0.82, 0.88, 0.93, 0.96, 0.985)
FILL_STEPS = (0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0, 1.2)
ASPECT_STEPS = (1.5, 2.5, 4.0, 6.0, 9.0, 14.0)
LENGTH_STEPS = (1, 2, 3, 5, 8, 13, 21)

# Width of a character in heights of the detected line, as RapidOCR boxes it (means over drawn lines).
WIDTHS = {"C": 0.80, "A": 0.52, "a": 0.42, "0": 0.44, "s": 0.25, "p": 0.24, "x": 0.50}
MEAN_WIDTH = 0.42

_CLASSES = "aAàg0CkpxwiG"
_VOWELS = frozenset("aeiouyAEIOUY")


def char_class(char: str) -> str:
    """One letter for the kind of a character: a/A Latin, à accented, g/G Greek, 0 digit, C Han, k kana,

    p punctuation, w full-width, i phonetic and other rare Latin, x anything else, s space.
    """
    if char.isspace():
        return "s"
    if char.isascii():
        return _ascii_class(char)
    code = ord(char)
    if 0x370 <= code < 0x400 or code == 0x2206:  # the dictionary's capital delta is the increment sign
        return "G" if char.isupper() or code == 0x2206 else "g"
    if 0x3040 <= code < 0x3100:
        return "k"
    if 0x3400 <= code < 0xA000 or 0x20000 <= code < 0x40000:
        return "C"
    if code < 0x180 and char.isalpha():
        return "à"
    if code < 0x300 and char.isalpha():
        return "i"
    if 0x3000 <= code < 0x3040 or 0xFF00 <= code < 0xFFF0:
        return "w"
    return "p" if unicodedata.category(char).startswith("P") else "x"


def _ascii_class(char: str) -> str:
    if char.isdigit():
        return "0"
    if char.isalpha():
        return "A" if char.isupper() else "a"
    return "p"


def dense(text: str, score: float, aspect: float) -> list[float]:
    """Some 70 numbers between 0 and about 1. ``aspect`` is the box's width by its height; 0: unknown."""
    classes = "".join(map(char_class, text))
    visible = [c for c in classes if c != "s"]
    count = len(visible)
    per = 1.0 / max(count, 1)
    found = Counter(visible)
    values = [found[c] * per for c in _CLASSES]
    values += _steps(score, SCORE_STEPS)
    values += _steps(count, LENGTH_STEPS)
    values += _fill(classes, aspect)
    values += _words(text, classes)
    values += _insides(text, classes, per)
    return values


def _steps(value: float, steps: Sequence[float]) -> list[float]:
    return [float(value >= step) for step in steps]


def _fill(classes: str, aspect: float) -> list[float]:
    """How much of the box the characters account for: letters that are not recognised leave it empty."""
    if aspect <= 0:
        return [1.0] + [0.0] * (len(FILL_STEPS) + len(ASPECT_STEPS) + 1)
    width = sum(WIDTHS.get(c, MEAN_WIDTH) for c in classes)
    fill = min(width / aspect, 2.0)
    return [0.0, fill / 2, *_steps(fill, FILL_STEPS), *_steps(aspect, ASPECT_STEPS)]


def _words(text: str, classes: str) -> list[float]:
    """Lengths of words, and blanks that follow one another: those of words that left nothing behind."""
    words = text.split()
    blanks = classes.count("s")
    lengths = [len(w) for w in words] or [0]
    mean = sum(lengths) / len(lengths)
    single = sum(n == 1 for n in lengths) / len(lengths)
    doubled = classes.count("ss") / max(blanks, 1)
    around = float(classes[:1] == "s") + float(classes[-1:] == "s")
    empty = not words
    return [
        min(mean / 10, 1.5), single, doubled, around / 2, min(blanks - len(words) + 1, 6) / 6,
        float(empty), float(empty and blanks > 0), float(empty and blanks > 1), min(max(lengths) / 12, 1.5),
    ]  # fmt: skip


def _insides(text: str, classes: str, per: float) -> list[float]:
    """What does not happen within words that are read well: capitals, digits, lone Greek letters."""
    pairs = Counter(pairwise(classes))
    latin = [c for c in text if c.isascii() and c.isalpha()]
    vowels = sum(c in _VOWELS for c in latin) / max(len(latin), 1)
    flips = pairs["a", "A"] * per
    digits = sum(n for (x, y), n in pairs.items() if (x == "0") != (y == "0") and {x, y} & set("aAàgG")) * per
    greek = sum(n for (x, y), n in pairs.items() if x in "gG" and y in "gG") * per
    mixed = sum(n for (x, y), n in pairs.items() if (x in "gG") != (y in "gG") and {x, y} & set("aAà0")) * per
    han = sum(n for (x, y), n in pairs.items() if (x in "Ck") != (y in "Ck") and {x, y} & set("aA0p")) * per
    kinds = len(set(classes)) / 8
    apart = sum(n for (x, y), n in pairs.items() if x in "aA" and y == "p") * per
    return [vowels, abs(vowels - 0.4), flips, digits, greek, mixed, han, kinds, apart]


def grams(text: str) -> Counter[str]:
    """Characters and pairs of them, digits as 0, Han as 漢 and kana as あ; edges of the line as ^ and $."""
    kinds = {"0": "0", "C": "漢", "k": "あ", "s": " "}
    plain = "^" + "".join(kinds.get(char_class(c), c) for c in text) + "$"
    found = Counter(plain)
    found.update(a + b for a, b in pairwise(plain))
    return found


def vector(text: str, score: float, aspect: float, vocabulary: Mapping[str, int]) -> Vector:
    """The whole input of the classifier: the dense part, then the frequencies of the known grams."""
    head = dense(text, score, aspect)
    values = np.zeros(len(head) + len(vocabulary), dtype=np.float32)
    values[: len(head)] = head
    found = grams(text)
    scale = 1.0 / max(len(text), 4)
    for gram, n in found.items():
        index = vocabulary.get(gram)
        if index is not None:
            values[len(head) + index] = min(n * scale * 4, 2.0)
    return values
