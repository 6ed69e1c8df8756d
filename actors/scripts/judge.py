"""Whether RapidOCR can have read a page at all: which scripts it covers, and signs of one it does not.

The recogniser has no character for most scripts and says so by silence: a Russian line comes back as
blanks only ("     ", confidence 0.94) or as nothing, an Armenian one as stray Latin letters, a Greek one
without its accented vowels. RapidOCR's own call then **drops the lines without a visible character and
those under confidence 0.5**, so that such a page looks blank. Hand ``judge_scripts`` every line that was
detected, the empty ones included (``RapidOCR.run_ocr_steps`` returns them), and the shape of its box.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from actors.scripts import features as script_features

# Scripts that the dictionary of PP-OCRv6 covers, each with characters that it must then have. A test
# compares them with the list in the model. Missing are for one all of Cyrillic, Hangul and Arabic, the
# accented vowels and the final sigma of Greek, and 44 of the 67 accented letters of Vietnamese.
COVERED_SCRIPTS: Mapping[str, str] = MappingProxyType(
    {
        "Latin": "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
        "àáâãäåæçèéêëìíîïðñòóôõöøùúûüýþÿßāăąćĉċčďđēĕėęěĝğġģĥħĩīĭįıĵķĺļľłńņňōŏőœŕŗřśŝşšţťũūŭůűųŵŷźżžșț",
        "Han": "的一是不了在人有我他这中大来上国個們這說學龍國發東車",
        "Hiragana": "あいうえおかがきぎくぐけげこごさざしじすずせぜそぞただちっつてでとどなにぬね"
        "のはばぱひふへほまみむめもやゆよらりるれろわをん",
        "Katakana": "アイウエオカガキギクグケゲコゴサザシジスズセゼソゾタダチッツテデトドナニヌネ"
        "ノハバパヒフヘホマミムメモヤユヨラリルレロワヲンヴー",
    }
)

DATA = Path(__file__).with_name("data") / "scripts.npz"

COVERED = "covered"

# Chosen on drawn pages in fonts and languages that the weights were not fitted to (docs/scripts.md).
LINE_CHANCE = 0.5  # from here on a line is called foreign
PAGE_SHARE = 0.2  # so much foreign text, and the page is not covered
LEAST_LINES = 2  # a single line among others never decides
READ_SCORE = 0.75  # boxes with less or nothing that are not foreign come from pictures: few beside text
ALONE_CHANCE = 0.95  # a page of one line is flagged only where this is certain
ALONE_LENGTH = 4.0  # and the line has some length, in line heights
SCRIPT_SHARE = 0.5  # a script is named when it has this part of the probability

# Several scripts leave nothing behind: of these the commoner are likelier. Rough orders of magnitude.
COMMON: Mapping[str, float] = MappingProxyType(
    {"Cyrillic": 10.0, "Arabic": 5.0, "Hangul": 5.0, "Devanagari": 3.0, "Hebrew": 2.0, "Thai": 2.0}
)

Column = np.ndarray[Any, np.dtype[np.float32]]
Matrix = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True, slots=True)
class ScriptVerdict:
    """``share`` of the page's text, by length, in scripts that are not covered; ``lines`` are these lines.

    ``script`` is the likeliest of them, or empty: several scripts leave the same (nothing) behind.
    ``covered`` is false where the share makes the page useless; one foreign line does not.
    """

    covered: bool
    script: str = ""
    share: float = 0.0
    lines: tuple[int, ...] = ()


def judge_scripts(lines: Sequence[tuple[str, float]], aspects: Sequence[float] = ()) -> ScriptVerdict:
    """Judge one page by its lines: recognised text and mean confidence 0-1, in any order.

    ``aspects`` are the widths of the lines' boxes by their heights, as many as lines, or nothing where
    they are unknown. They are half of the evidence: a long box with little in it is a line in a script
    that is not covered. Lines of numbers and signs count for nothing on either side.
    """
    if not lines:
        return ScriptVerdict(True)
    chances = line_chances(lines, aspects)
    foreign = 1.0 - chances[COVERED]
    lengths = _lengths(lines, aspects)
    found = foreign >= LINE_CHANCE
    lettered = np.array([any(map(str.isalpha, text)) for text, _ in lines])
    counted = found | lettered
    if not found.any():
        return ScriptVerdict(True)
    share = float(lengths[found].sum() / lengths[counted].sum())
    indexes = tuple(int(i) for i in np.flatnonzero(found))
    mute = ~found & np.array([not text.strip() or score < READ_SCORE for text, score in lines])
    if counted.sum() == 1:
        enough = _alone(lines[indexes[0]][0], float(foreign[found][0]), float(lengths[found][0]))
    else:
        enough = len(indexes) >= LEAST_LINES and 2 * len(indexes) > mute.sum()
    covered = share < PAGE_SHARE or not enough
    return ScriptVerdict(covered, _script(chances, lengths * found), round(share, 4), indexes)


def line_chances(lines: Sequence[tuple[str, float]], aspects: Sequence[float] = ()) -> dict[str, Column]:
    """The probability of every class (``covered`` or the name of a script), an array over the lines."""
    network = _network()
    shapes = aspects or [0.0] * len(lines)
    inputs = np.array(
        [
            script_features.vector(text, score, aspect, network.grams)
            for (text, score), aspect in zip(lines, shapes, strict=True)
        ]
    )
    return dict(zip(network.classes, network(inputs).T, strict=True))


def _lengths(lines: Sequence[tuple[str, float]], aspects: Sequence[float]) -> Column:
    """Lengths of the lines in line heights: of their boxes, or guessed from the text."""
    shapes = aspects or [script_features.MEAN_WIDTH * max(len(text), 2) for text, _ in lines]
    return np.array(shapes, dtype=np.float32)


def _alone(text: str, foreign: float, length: float) -> bool:
    """Whether a page's only line may speak for the page: clearly foreign, long, no number, no silent box."""
    number = any(map(str.isdigit, text))
    return bool(text) and not number and foreign >= ALONE_CHANCE and length >= ALONE_LENGTH


def _script(chances: Mapping[str, Column], weights: Column) -> str:
    """The script with the greater part of the foreign probability, the common ones first, or empty."""
    sums = {
        name: float((column * weights).sum()) * COMMON.get(name, 1.0)
        for name, column in chances.items()
        if name != COVERED
    }
    best = max(sums, key=lambda name: sums[name])
    return best if sums[best] >= SCRIPT_SHARE * sum(sums.values()) else ""


@dataclass(frozen=True, slots=True)
class _Network:
    """One hidden layer of rectifiers, then a softmax over the classes; ``grams`` are the known ones."""

    classes: tuple[str, ...]
    grams: Mapping[str, int]
    hidden: Matrix
    hidden_bias: Column
    out: Matrix
    out_bias: Column

    def __call__(self, inputs: Matrix) -> Matrix:
        """Rows of inputs to rows of probabilities, one per class."""
        between = np.maximum(inputs @ self.hidden + self.hidden_bias, 0.0)
        raw = between @ self.out + self.out_bias
        raised = np.exp(raw - raw.max(axis=1, keepdims=True))
        chances: Matrix = raised / raised.sum(axis=1, keepdims=True)
        return chances


@lru_cache(maxsize=1)
def _network() -> _Network:
    with np.load(DATA, allow_pickle=False) as data:
        weights = [data[k].astype(np.float32) for k in ("hidden", "hidden_bias", "out", "out_bias")]
        grams = {str(gram): index for index, gram in enumerate(data["grams"])}
        return _Network(tuple(str(c) for c in data["classes"]), grams, *weights)
