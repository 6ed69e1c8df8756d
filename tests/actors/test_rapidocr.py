"""The embedded engine on drawn pages: order, directions, confidence, scripts, a free event loop."""

from __future__ import annotations

import asyncio
import math
import threading

import cv2
import numpy as np
import pytest

from actors.engines.base import Completion, Request
from actors.engines.line_ocr.upright import quad_of
from actors.engines.load import load_engine
from actors.engines.settings import EngineConfig
from manifests.errors import EngineError
from tests.actors.typeset import GREEK, LETTER, typeset, words

EXPECTED = words("\n".join(LETTER))


@pytest.fixture(scope="module")
def rapid():
    return load_engine(EngineConfig())


@pytest.fixture(scope="module")
def letter() -> np.ndarray:
    return typeset(LETTER)


@pytest.fixture(scope="module")
def upright(rapid, letter) -> Completion:
    return read(rapid, letter)


def read(engine, *images: np.ndarray) -> Completion:
    return asyncio.run(engine.read(Request("a", 1, images)))


def test_lines_are_joined_to_paragraphs_with_boxes_around_them(upright):
    answer = upright
    assert words(answer.text) == EXPECTED
    first, second = answer.regions  # the fifth line leaves room for the first word of the sixth
    assert answer.text == f"{first.text}\n\n{second.text}"
    assert {first.label, second.label} == {"text"}
    assert first.box == pytest.approx((95, 95, 742, 309), abs=15)
    assert second.box == pytest.approx((95, 324, 694, 354), abs=15)
    assert (answer.rotation, answer.flags, answer.uncovered_script) == (0, (), None)


def test_confidence_is_told_as_mean_and_worst(upright):
    answer = upright
    assert answer.worst_confidence is not None
    assert answer.mean_confidence is not None
    assert 0.9 < answer.worst_confidence <= answer.mean_confidence <= 1


@pytest.mark.parametrize("clockwise", [90, 180, 270])
def test_a_turned_page_is_turned_back(rapid, letter, upright, clockwise):
    turned = np.ascontiguousarray(np.rot90(letter, -clockwise // 90))
    answer = read(rapid, turned)
    assert words(answer.text) == EXPECTED
    assert answer.rotation == 360 - clockwise
    assert answer.regions[0].box == pytest.approx(upright.regions[0].box, abs=12)


@pytest.mark.parametrize("clockwise", [-5.0, 5.0])
def test_a_skewed_page_is_straightened_and_its_boxes_lie_on_the_page_as_it_came(
    rapid, letter, upright, clockwise
):
    height, width = letter.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -clockwise, 1.0)
    skewed = cv2.warpAffine(letter, matrix, (width, height), borderValue=(255, 255, 255))
    answer = read(rapid, np.asarray(skewed))
    assert words(answer.text) == EXPECTED
    assert (answer.rotation, answer.flags) == (0, ("deskewed",))
    straight = upright.regions[0].box
    x1, y1, x2, y2 = answer.regions[0].box
    assert y1 < straight[1] - 15 and y2 > straight[3] + 15  # the hull of a slanted block is taller
    moved = math.sin(math.radians(clockwise)) * (999 / 2 - (straight[1] + straight[3]) / 2)
    assert (x1 + x2) / 2 == pytest.approx((straight[0] + straight[2]) / 2 + moved, abs=12)


def test_an_empty_page_has_no_text(rapid):
    answer = read(rapid, np.full((100, 100, 3), 255, np.uint8))
    assert (answer.text, answer.regions, answer.finish_reason) == ("", (), "stop")
    assert (answer.mean_confidence, answer.worst_confidence) == (None, None)


def faded(image: np.ndarray, share: float) -> np.ndarray:
    return (255 - share * (255.0 - image)).astype(np.uint8)


@pytest.mark.parametrize("flip", [np.fliplr, np.flipud])
def test_what_shines_through_from_the_other_side_is_no_text(rapid, letter, flip):
    answer = read(rapid, faded(np.ascontiguousarray(flip(letter)), 0.12))
    assert answer == Completion("", flags=("no_text",))


def test_what_shines_through_does_not_turn_a_page_on_its_head(rapid):
    front = typeset([*LETTER, *[" "] * 14])
    back = typeset([*[" "] * 8, *["It was remembered that the harbour had been repaired twice"] * 12])
    answer = read(rapid, np.minimum(front, faded(np.fliplr(back), 0.2)))
    assert (answer.rotation, words(answer.text)) == (0, EXPECTED)


def test_faint_print_is_read(rapid, letter):
    assert words(read(rapid, faded(letter, 0.12)).text) == EXPECTED


def test_a_number_alone_on_a_page_is_read(rapid):
    page = np.full((1100, 800, 3), 255, np.uint8)
    page[1000:1060, 300:560] = typeset(["342"], size=14)[55:115, 30:290]
    answer = read(rapid, page)
    assert (answer.text, answer.regions[0].label) == ("342", "page_number")


def test_a_one_alone_on_a_page_is_read_and_strokes_and_punch_holes_are_not(rapid):
    page = np.full((1100, 800, 3), 255, np.uint8)
    page[1000:1060, 300:360] = typeset(["1"], size=11, font="tiro")[40:100, 50:110]
    assert read(rapid, page).text == "1"
    page[1000:1060] = 255
    page[1010:1026, 400:403] = 0
    cv2.circle(page, (40, 300), 12, (30, 30, 30), -1)
    cv2.circle(page, (40, 800), 12, (30, 30, 30), -1)
    assert read(rapid, page).text == ""


def test_a_page_of_which_little_is_found_is_looked_at_more_closely(rapid, monkeypatch):
    page = np.full((1800, 1300, 3), 255, np.uint8)
    page[200:1600:30, 100:1200] = 0
    rows = [
        quad_of([(90, y - 15), (1210, y - 15), (1210, y + 15), (90, y + 15)]) for y in range(200, 1600, 30)
    ]
    monkeypatch.setattr(rapid, "_detected_at", lambda image, scale: rows[:2] if scale < 1 else rows)
    assert len(rapid._detected(page)) == len(rows)
    page[200:1600] = 255
    assert len(rapid._detected(page)) == 2


def test_greek_is_told_apart_from_what_it_reads_well(rapid):
    answer = read(rapid, typeset(GREEK))
    assert answer.uncovered_script == "Greek"


def test_it_reads_one_image_at_a_time(rapid, letter):
    with pytest.raises(EngineError, match="one image per request, got 2"):
        read(rapid, letter, letter)
    assert rapid.info.concurrency == 1


def test_the_event_loop_goes_on_while_it_reads(rapid, letter, monkeypatch):
    told = threading.Event()

    def read_slowly(image: np.ndarray) -> Completion:
        return Completion("the loop went on" if told.wait(10.0) else "the loop was blocked")

    monkeypatch.setattr(rapid, "_read", read_slowly)

    async def go() -> Completion:
        reading = asyncio.ensure_future(rapid.read(Request("a", 1, [letter])))
        await asyncio.sleep(0)
        told.set()
        return await reading

    assert asyncio.run(go()).text == "the loop went on"
