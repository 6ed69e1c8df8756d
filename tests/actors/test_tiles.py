"""Large pages in tiles, long lines in parts: nothing is lost at a border, and nothing is read twice."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from actors.engines.line_ocr.upright import Quad, sides
from actors.engines.rapidocr.long_lines import LONGEST, joined_reading, parts_of
from actors.engines.rapidocr.tiles import OVERLAP, TILE, joined, tiles_of


@pytest.mark.parametrize(
    ("width", "height", "count"),
    [(1, 1, 1), (TILE, TILE, 1), (TILE + 1, 700, 2), (20_000, 700, 9), (5_000, 7_000, 9), (700, 20_000, 9)],
)
def test_tiles_cover_a_page_and_overlap(width, height, count):
    tiles = tiles_of(width, height)
    assert len(tiles) == count
    covered = np.zeros((height // 7 + 1, width // 7 + 1), int)
    for x1, y1, x2, y2 in tiles:
        assert 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height
        assert x2 - x1 <= TILE and y2 - y1 <= TILE
        covered[y1 // 7 : y2 // 7 + 1, x1 // 7 : x2 // 7 + 1] += 1
    assert covered.min() >= 1
    rows = sorted({(x1, x2) for x1, _, x2, _ in tiles})
    assert all(before[1] - after[0] >= OVERLAP for before, after in pairwise(rows))


def quad(x1: float, y1: float, x2: float, y2: float, rise: float = 0.0) -> Quad:
    return np.array([[x1, y1], [x2, y1 + rise], [x2, y2 + rise], [x1, y2]], np.float32)


def seen(lines: list[tuple[float, float, float, float]], width: int, height: int):
    """What a detector finds in each tile: lines cut where the tile ends, and with a pixel of error."""
    for place, tile in enumerate(tiles_of(width, height)):
        found = []
        for x1, y1, x2, y2 in lines:
            cut = max(x1, tile[0]), max(y1, tile[1]), min(x2, tile[2]), min(y2, tile[3])
            if cut[2] - cut[0] > 8 and cut[3] - cut[1] > 4:
                found.append(quad(*(value + (place % 2) for value in cut)))
        yield tile, found


def boxes(quads: list[Quad]) -> list[tuple[float, ...]]:
    found = (tuple(np.round([*q.min(axis=0), *q.max(axis=0)]).tolist()) for q in quads)
    return sorted(found, key=lambda box: (box[1], box[0]))


@pytest.mark.parametrize(("width", "height"), [(5_000, 7_000), (20_000, 700), (700, 20_000), (2_561, 2_561)])
def test_every_line_is_found_once_and_whole(width, height):
    lines = [(60.0, y, width - 60.0, y + 30.0) for y in np.arange(40.0, height - 60, 43.0)]
    found = boxes(joined(list(seen(lines, width, height)), width, height))
    assert len(found) == len(lines)
    assert np.abs(np.array(found) - np.array(lines)).max() <= 2


def test_columns_and_words_at_a_border_stay_apart():
    border = tiles_of(5_000, 700)[0][2]
    lines = []
    for y in range(40, 600, 40):
        lines += [(100.0, y, border - 150.0, y + 28.0), (border - 110.0, y, 4_900.0, y + 28.0)]
    found = boxes(joined(list(seen(lines, 5_000, 700)), 5_000, 700))
    assert len(found) == len(lines)


def test_lines_that_run_up_the_page_are_joined_too():
    lines = [(x, 50.0, x + 30.0, 6_900.0) for x in np.arange(50.0, 4_900, 60.0)]
    found = joined(list(seen(lines, 5_000, 7_000)), 5_000, 7_000)
    assert len(found) == len(lines)
    assert all(sides(line)[1] > 6_800 for line in found)


def test_a_leaning_line_keeps_its_slope():
    left, right = tiles_of(5_000, 700)[:2]
    parts = [(left, [quad(100, 100, left[2], 130, 5)]), (right, [quad(right[0], 105, 4_900, 135, 5)])]
    (line,) = joined(parts, 5_000, 700)
    assert line[0].tolist() == [100, 100] and line[1].tolist() == [4_900, 110]


def strip(text: str, size: int = 24) -> np.ndarray:
    font = ImageFont.load_default(size=size)
    width = int(ImageDraw.Draw(Image.new("L", (9, 9))).textlength(text, font=font)) + 20
    image = Image.new("RGB", (width, size + 8), "white")
    ImageDraw.Draw(image).text((10, 2), text, fill="black", font=font)
    return np.asarray(image)


def test_a_usual_line_is_read_in_one_piece():
    crop = strip("The ferry sails at seven in the morning")
    assert parts_of(crop)[0] is crop


def test_a_long_line_is_cut_between_its_words():
    crop = strip("harbour nets " * 60)
    parts = parts_of(crop)
    assert sum(part.shape[1] for part in parts) == crop.shape[1] and len(parts) > 2
    for part in parts:
        assert part.shape[1] <= LONGEST * part.shape[0]
        assert part[:, :2].min() > 200 and part[:, -2:].min() > 200


def test_a_line_without_white_is_cut_all_the_same():
    crop = np.zeros((20, 4_000, 3), np.uint8)
    assert sum(part.shape[1] for part in parts_of(crop)) == 4_000


def test_parts_are_joined_with_a_space_where_their_script_has_one():
    assert joined_reading([("one two", 1.0), ("three", 0.5)]) == ("one two three", pytest.approx(9.5 / 12))
    assert joined_reading([("一是", 1.0), ("不了", 1.0)])[0] == "一是不了"
    assert joined_reading([("", 0.2), ("text", 0.9)])[0].strip() == "text"
