"""DeepSeek-OCR's grounded answers: ``<|ref|>label<|/ref|><|det|>[[x1, y1, x2, y2], …]<|/det|>text``.

Coordinates are 0-999 of the page. Two kinds of answer are written so. Documents name kinds of blocks in
the first part and have each block's text behind its boxes; where single words or things are pointed at,
the first part is the text itself and nothing follows. Read by hand, and no text is ever lost: what is no
mark is text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from actors.postprocess.parsed import Parsed
from actors.retry import Box, Problem
from results.rows import Region

LARGEST = 999
MALFORMED_FLAG = "malformed_boxes"
"""On a page of whose boxes some could not be read."""
_LABELS = (
    "title sub_title subtitle text paragraph list list_item caption abstract table table_caption "
    "table_footnote image image_caption image_footnote figure figure_caption figure_title chart "
    "chart_caption seal index equation formula interline_equation formula_caption code code_caption "
    "algorithm header footer page_number page_header page_footer footnote page_footnote aside_text "
    "reference ref_text"
)
LAYOUT_LABELS = frozenset(_LABELS.split())
"""Kinds of blocks. Any other label is something that was read or looked for."""

_MARK = re.compile(r"<\|(/?)(ref|det|grounding)\|>")
_NUMBER = r"[+-]?\d{1,6}(?:\.\d{0,6})?"
_BOX = re.compile(rf"\[\s*({_NUMBER})\s*,\s*({_NUMBER})\s*,\s*({_NUMBER})\s*,\s*({_NUMBER})\s*\]")
_BOX_TEXT = re.compile(r"[\[\]\d\s,.+-]*")


@dataclass(slots=True)
class _Block:
    """A label, its boxes, and the text behind them. ``closed``: the label's end was there."""

    label: str = ""
    closed: bool = True
    boxes: tuple[Box, ...] = ()
    text: str = ""
    malformed: bool = False

    @property
    def points(self) -> bool:
        """Whether the label is what was read or looked for, and not a kind of block."""
        if not self.label or self.label.lower() in LAYOUT_LABELS or (self.boxes and self.text):
            return False
        return self.closed or not any(label.startswith(self.label.lower()) for label in LAYOUT_LABELS)


def parse_grounded(answer: str) -> Parsed:
    """Blocks as regions, and their texts one below the other."""
    if not _MARK.search(answer):
        return Parsed(answer, problem=Problem.MISSING_LABEL if answer.strip() else None)
    blocks = list(_blocks(answer))
    regions = tuple(region for block in blocks for region in _regions(block))
    texts = [_text(block) for block in blocks]
    lines = all(block.points for block in blocks if block.label)
    malformed = any(block.malformed for block in blocks)
    return Parsed(
        ("\n" if lines else "\n\n").join(text for text in texts if text),
        regions,
        (MALFORMED_FLAG,) if malformed else (),
        None if regions else Problem.UNPARSEABLE,
    )


def _blocks(answer: str) -> Iterator[_Block]:
    """The answer cut at its marks. A new block begins at a label, or at boxes that have none."""
    block = _Block()
    offset, inside = 0, ""
    for match in [*_MARK.finditer(answer), None]:
        piece = answer[offset : match.start() if match else len(answer)]
        offset = match.end() if match else offset
        if inside == "ref":
            ended = match is not None and match[1] == "/" and match[2] == "ref"
            block.label, block.closed = " ".join(piece.split()), ended
            block.malformed |= not ended
        elif inside == "det":
            block.boxes, block.text, well = _boxes(piece)
            block.malformed |= not (well and match and match[1] == "/" and match[2] == "det")
        else:
            block.text = f"{block.text}{piece}" if block.text.strip() else piece
        inside = match[2] if match and not match[1] else ""
        if match is None or inside == "ref" or (inside == "det" and (block.boxes or block.text.strip())):
            block.text = block.text.strip()
            yield block
            block = _Block()


def _boxes(piece: str) -> tuple[tuple[Box, ...], str, bool]:
    """Boxes at the start of a piece, the text that follows them, and whether all was well formed."""
    head = _BOX_TEXT.match(piece)
    end = head.end() if head else 0
    last = piece.rfind("]", 0, end) + 1
    if last and "[" not in piece[last:end]:  # what follows the last bracket is text, were it a number
        end = last
    boxes = tuple(_box(numbers) for numbers in _BOX.findall(piece[:end]))
    rest = _BOX.sub("", piece[:end])
    return boxes, piece[end:], bool(boxes) and not re.search(r"\d", rest)


def _box(numbers: tuple[str, ...]) -> Box:
    """Corners in order, within the page."""
    x1, y1, x2, y2 = (min(LARGEST, max(0, round(float(number)))) for number in numbers)
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def _regions(block: _Block) -> Iterator[Region]:
    """One region a box; the block's text with the first, so that it is there once."""
    for number, box in enumerate(block.boxes):
        yield Region(block.label, box, "" if number else _text(block))


def _text(block: _Block) -> str:
    """A block's text: what stands behind its boxes, or what was pointed at."""
    return f"{block.label} {block.text}".strip() if block.points else block.text
