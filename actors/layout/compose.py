"""A page composed of its lines: tables taken out, columns put in order, lines joined to paragraphs."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import replace

from actors.layout.geometry import line_height
from actors.layout.grids import take_grids
from actors.layout.lines import Box, ComposedPage, Rules, TextLine, body_size
from actors.layout.paragraphs import Block, blocks_of
from actors.layout.reading_order import in_reading_order
from actors.layout.tables import Table
from results.rows import Region

BOX_SCALE = 999
RIGHT_TO_LEFT = ("R", "AL")


def compose(lines: Sequence[TextLine], width: float, height: float, rules: Rules = Rules()) -> ComposedPage:  # noqa: B008  frozen
    """Bring the lines of an upright page into reading order, as Markdown and labelled regions.

    ``width`` and ``height`` are the page's, in the unit of the boxes. A page that is mostly written
    from right to left is read in that direction.
    """
    lines = [replace(line, text=" ".join(line.text.split())) for line in lines if line.text.strip()]
    if not lines or width <= 0 or height <= 0:
        return ComposedPage("", ())
    mirrored = _runs_right_to_left(lines)
    if mirrored:
        lines = [replace(line, box=_mirrored(line.box, width)) for line in lines]
        rules = _mirrored_rules(rules, width)
    blocks = _blocks(lines, rules)
    if mirrored:
        blocks = [replace(block, box=_mirrored(block.box, width)) for block in blocks]
    regions = tuple(Region(block.label, scaled_box(block.box, width, height), block.text) for block in blocks)
    return ComposedPage(_markdown(blocks), regions)


def _blocks(lines: Sequence[TextLine], rules: Rules) -> list[Block]:
    em = line_height(lines)
    body = body_size(lines)
    tables, rest = take_grids(lines, rules, em)
    blocks: list[Block] = []
    for part in in_reading_order([*rest, *tables]):
        if isinstance(part, Table):
            blocks.append(Block("table", part.markdown(), part.box))
        else:
            blocks += blocks_of(part, body)
    return blocks


def _markdown(blocks: Sequence[Block]) -> str:
    """Blocks apart by an empty line, items of one list by none."""
    text = ""
    for index, block in enumerate(blocks):
        if index:
            listed = block.label == blocks[index - 1].label == "list_item"
            text += "\n" if listed else "\n\n"
        text += block.text
    return text


def scaled_box(box: Box, width: float, height: float) -> tuple[int, int, int, int]:
    """On the 0-999 scale of the page."""
    x1, x2 = (round(BOX_SCALE * min(max(x / width, 0.0), 1.0)) for x in (box[0], box[2]))
    y1, y2 = (round(BOX_SCALE * min(max(y / height, 0.0), 1.0)) for y in (box[1], box[3]))
    return x1, y1, x2, y2


def _runs_right_to_left(lines: Sequence[TextLine]) -> bool:
    directions = [unicodedata.bidirectional(character) for line in lines for character in line.text]
    to_left = sum(direction in RIGHT_TO_LEFT for direction in directions)
    return to_left > directions.count("L")


def _mirrored(box: Box, width: float) -> Box:
    return width - box[2], box[1], width - box[0], box[3]


def _mirrored_rules(rules: Rules, width: float) -> Rules:
    return Rules(
        tuple((y, width - x2, width - x1) for y, x1, x2 in rules.horizontal),
        tuple((width - x, y1, y2) for x, y1, y2 in rules.vertical),
    )
