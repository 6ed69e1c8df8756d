"""Page designs: each fills a sheet from a seed and says what stands on it, in reading order."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

import numpy as np
import pymupdf
from PIL import Image, ImageFilter

from benchmarks.samples.blocks import Block, Kind, KnownPage
from benchmarks.samples.typeset import FAMILIES, Area, Sheet, Style, flow, width
from benchmarks.samples.writer import Writer

A4 = (595.0, 842.0)
A5 = (420.0, 595.0)
MM = 72 / 25.4
LINE_GREY = (0.35, 0.35, 0.35)
COLUMN_HEADING = 1.25
"""Size of headings within columns, in sizes of the text: larger words would not fit the narrowest."""


@dataclass(frozen=True, slots=True)
class Press:
    """What a page is made with: chance, a writer, and the sheet's size in points."""

    choose: random.Random
    writer: Writer
    size: tuple[float, float] = A4
    family: str | None = None

    def style(self, smallest: float, largest: float, **fixed: float | bool) -> Style:
        """Type of a size between the two, set in one of many ways."""
        choose = self.choose
        indented = choose.random() < 0.5
        size = round(choose.uniform(smallest, largest), 1)
        style = Style(
            family=self.family or choose.choice(("sans", "serif", "serif")),
            size=size,
            leading=round(choose.uniform(1.2, 1.45), 2),
            indent=1.5 * size if indented else 0.0,
            gap=0.0 if indented else round(choose.uniform(0.5, 0.8) * size, 1),
            justified=choose.random() < 0.5,
            heading_scale=round(choose.uniform(1.4, 1.9), 2),
        )
        return replace(style, **fixed)  # type: ignore[arg-type]  # each field has the type it had

    def margins(self) -> Area:
        """The part of the sheet that is printed on."""
        side, top = (self.choose.uniform(0.09, 0.13) * edge for edge in self.size)
        return Area(side, top, self.size[0] - side, self.size[1] - top)


def letter(document: pymupdf.Document, press: Press) -> KnownPage:
    """A heading, paragraphs, a list and more paragraphs in one column, as far as the sheet goes."""
    writer, choose = press.writer, press.choose
    blocks = [writer.heading(), writer.paragraph(3), writer.paragraph(choose.randint(2, 4))]
    blocks += writer.list_items(choose.randint(3, 5))
    blocks += [writer.paragraph(choose.randint(2, 5)) for _ in range(8)]
    return set_blocks(document, press, blocks, press.style(9.5, 12))


def set_blocks(document: pymupdf.Document, press: Press, blocks: Sequence[Block], style: Style) -> KnownPage:
    """Blocks under one another in one column."""
    sheet = Sheet(document, press.size)
    done, _ = flow(sheet, blocks, [press.margins()], style)
    sheet.finish()
    return KnownPage(tuple(done))


def two_columns(document: pymupdf.Document, press: Press) -> KnownPage:
    """An article: a heading over both columns, which are of one width; perhaps a picture."""
    choose, writer = press.choose, press.writer
    sheet, area = Sheet(document, press.size), press.margins()
    style = press.style(9, 11, hyphenated=True)
    done, y = flow(sheet, [writer.heading()], [area], style)
    below = replace(area, top=y + style.gap + style.size)
    if choose.random() < 0.4:
        below = _picture_above(sheet, below, choose)
    columns = _columns(below, 2, choose.uniform(5, 9) * MM)
    article = _article(writer, choose, 20)
    if choose.random() < 0.4:
        columns = _picture_between(sheet, columns, choose)
    done += flow(sheet, article, columns, replace(style, heading_scale=COLUMN_HEADING))[0]
    sheet.finish()
    return KnownPage(tuple(done))


def unequal_columns(document: pymupdf.Document, press: Press) -> KnownPage:
    """A wide column and a narrow one beside it, each with a text of its own, under one heading."""
    choose, writer = press.choose, press.writer
    sheet, area = Sheet(document, press.size), press.margins()
    style = press.style(9, 11, hyphenated=True)
    done, y = flow(sheet, [writer.heading()], [area], style)
    below = replace(area, top=y + style.gap + style.size)
    gutter = choose.uniform(6, 10) * MM
    cut = below.left + (below.width - gutter) * choose.choice((0.36, 0.62))
    inner = replace(style, heading_scale=COLUMN_HEADING, justified=False)
    for column in (replace(below, right=cut), replace(below, left=cut + gutter)):
        done += flow(sheet, _article(writer, choose, 12), [column], inner)[0]
    sheet.finish()
    return KnownPage(tuple(done))


def newspaper(document: pymupdf.Document, press: Press) -> KnownPage:
    """Two articles of three columns, one above the other, each under a heading of full width."""
    choose, writer = press.choose, press.writer
    sheet, area = Sheet(document, press.size), press.margins()
    style = press.style(9, 10, hyphenated=True, justified=True)
    done: list[Block] = []
    cut = area.top + (area.bottom - area.top) * choose.uniform(0.42, 0.58)
    for part in (replace(area, bottom=cut - 2 * style.size), replace(area, top=cut)):
        heading, y = flow(sheet, [writer.heading()], [part], style)
        done += heading
        columns = _columns(replace(part, top=y + style.size), 3, choose.uniform(4.5, 7) * MM)
        if choose.random() < 0.5:
            columns = _picture_between(sheet, columns, choose)
        if choose.random() < 0.5:
            _rules_between(sheet, columns)
        inner = replace(style, heading_scale=COLUMN_HEADING)
        done += flow(sheet, _article(writer, choose, 12), columns, inner)[0]
    sheet.finish()
    return KnownPage(tuple(done))


def table(document: pymupdf.Document, press: Press, *, ruled: bool) -> KnownPage:
    """A table between two paragraphs, with lines around its cells or without."""
    choose, writer = press.choose, press.writer
    sheet, area = Sheet(document, press.size), press.margins()
    style = press.style(9.5, 11.5, leading=1.3)
    done, y = flow(sheet, [writer.heading(), writer.paragraph(1)], [area], style)
    block = writer.table(choose.randint(4, 9))
    y = _set_table(sheet, block, replace(area, top=y + 1.5 * style.size), style, choose, ruled)
    done.append(block)
    done += flow(sheet, [writer.paragraph(2)], [replace(area, top=y + 1.5 * style.size)], style)[0]
    sheet.finish()
    return KnownPage(tuple(done))


def page_number(document: pymupdf.Document, press: Press) -> KnownPage:
    """Nothing but a page number at the head or the foot."""
    choose = press.choose
    sheet, style = Sheet(document, press.size), press.style(9.5, 12)
    number = choose.randint(2, 480)
    text = choose.choice((str(number), str(number), f"Page {number}"))
    name = FAMILIES[style.family][0]
    wide, high = press.size
    x = choose.choice(((wide - width(text, name, style.size)) / 2, wide * 0.86))
    sheet.write(x - (0 if x < wide / 2 else 12), high * choose.choice((0.06, 0.94)), text, name, style.size)
    sheet.finish()
    return KnownPage((Block(Kind.PAGE_NUMBER, text),))


def empty(document: pymupdf.Document, press: Press) -> KnownPage:
    """A sheet with nothing on it."""
    Sheet(document, press.size)
    return KnownPage()


def _article(writer: Writer, choose: random.Random, paragraphs: int) -> list[Block]:
    """More paragraphs than a page holds, with a heading among them now and then."""
    blocks: list[Block] = []
    for number in range(paragraphs):
        if number > 1 and choose.random() < 0.15 and blocks[-1].kind is Kind.PARAGRAPH:
            blocks.append(writer.heading())
        blocks.append(writer.paragraph(choose.randint(2, 5)))
    return blocks


def _columns(area: Area, count: int, gutter: float) -> list[Area]:
    wide = (area.width - gutter * (count - 1)) / count
    lefts = [area.left + index * (wide + gutter) for index in range(count)]
    return [replace(area, left=left, right=left + wide) for left in lefts]


def _picture_above(sheet: Sheet, area: Area, choose: random.Random) -> Area:
    """A picture over all columns; the area that is left below it."""
    cut = area.top + (area.bottom - area.top) * choose.uniform(0.18, 0.3)
    _picture(sheet, replace(area, bottom=cut), choose)
    return replace(area, top=cut + 12)


def _picture_between(sheet: Sheet, columns: Sequence[Area], choose: random.Random) -> list[Area]:
    """A picture within one column; the areas with that column's in two parts."""
    at = choose.randrange(len(columns))
    column = columns[at]
    high = column.bottom - column.top
    top = column.top + high * choose.uniform(0.3, 0.5)
    bottom = top + min(column.width * choose.uniform(0.6, 0.9), high * 0.35)
    _picture(sheet, replace(column, top=top, bottom=bottom), choose)
    parts = [replace(column, bottom=top - 8), replace(column, top=bottom + 8)]
    return [*columns[:at], *parts, *columns[at + 1 :]]


def _picture(sheet: Sheet, area: Area, choose: random.Random) -> None:
    """Hills under a sky in greys, as a printed photograph has them."""
    wide, high = int(area.width), int(area.bottom - area.top)
    rng = np.random.default_rng(choose.getrandbits(32))
    x, y = np.arange(wide), np.arange(high)[:, None]
    grey = np.broadcast_to(200 - 60 * y / high, (high, wide)).copy()
    for depth in (0.35, 0.55, 0.75):
        ridge = high * (depth + 0.1 * np.sin(x / wide * rng.uniform(4, 12) + rng.uniform(0, 6)))
        grey[y > ridge] = 170 - 140 * depth
    grey += rng.normal(0, 8, grey.shape)
    image = Image.fromarray(grey.clip(0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.7))
    pixmap = pymupdf.Pixmap(pymupdf.csGRAY, wide, high, image.tobytes(), False)
    rect = pymupdf.Rect(area.left, area.top, area.right, area.bottom)
    sheet.page.insert_image(rect, pixmap=pixmap, keep_proportion=False)


def _rules_between(sheet: Sheet, columns: Sequence[Area]) -> None:
    """Thin lines down the gutters."""
    lefts = sorted({(area.left, area.right) for area in columns})
    top, bottom = min(area.top for area in columns), max(area.bottom for area in columns)
    for (_, right), (left, _) in pairwise(lefts):
        x = (right + left) / 2
        sheet.page.draw_line((x, top), (x, bottom), color=LINE_GREY, width=0.5)


def _set_table(
    sheet: Sheet, block: Block, area: Area, style: Style, choose: random.Random, ruled: bool
) -> float:
    """Cells left-aligned or, for figures, right-aligned; returns the y below the table."""
    plain, bold = FAMILIES[style.family]
    natural = [
        max(width(cell, bold, style.size) for cell in cells) for cells in zip(*block.rows, strict=True)
    ]
    spare = (area.width - sum(natural)) / len(natural)
    if spare < style.size:  # too wide for the sheet
        return _set_table(sheet, block, area, replace(style, size=style.size - 0.5), choose, ruled)
    pad = min(spare, choose.uniform(1.6, 3.5) * style.size)
    edges = list(accumulate((wide + pad for wide in natural), initial=area.left))
    high = style.size * (choose.uniform(1.7, 2.1) if ruled else choose.uniform(1.35, 1.7))
    for number, row in enumerate(block.rows):
        base = area.top + number * high + high / 2 + style.size * 0.35
        for index, cell in enumerate(row):
            name = plain if number else bold
            x = edges[index] + pad / 2
            if index and block.rows[1][index][0].isdigit():
                x = edges[index + 1] - pad / 2 - width(cell, name, style.size)
            sheet.write(x, base, cell, name, style.size)
    bottom = area.top + len(block.rows) * high
    if ruled:
        for number in range(len(block.rows) + 1):
            y = area.top + number * high
            sheet.page.draw_line((edges[0], y), (edges[-1], y), color=LINE_GREY, width=0.7)
        for x in edges:
            sheet.page.draw_line((x, area.top), (x, bottom), color=LINE_GREY, width=0.7)
    return bottom
