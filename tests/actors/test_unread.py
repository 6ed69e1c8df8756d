"""What a page shows and cannot be read is told, and what shows no text is not blamed for that."""

from __future__ import annotations

import asyncio

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from actors.engines.base import Completion, Request
from actors.engines.line_ocr.reading import completion_of
from actors.engines.line_ocr.unread import unread_print
from actors.engines.line_ocr.upright import straighten
from actors.engines.load import load_engine
from actors.engines.settings import EngineConfig
from actors.layout.lines import Rules, TextLine
from results.rows import Status
from tests.actors.test_page_reader import Bench, FakeEngine, by_page, chunk, page
from tests.actors.typeset import LETTER

SIZE = (1_200, 800)
NOISE = np.random.default_rng(5)


def drawn(draw, size=SIZE, paper: int = 255) -> np.ndarray:
    image = Image.new("L", size, paper)
    draw(ImageDraw.Draw(image))
    return np.dstack([np.asarray(image)] * 3)


def lines(size: int, ink: int = 0, count: int = 12, width: int = SIZE[0]):
    def draw(drawing: ImageDraw.ImageDraw) -> None:
        font = ImageFont.load_default(size=size)
        for place in range(count):
            text = " ".join(LETTER[place % len(LETTER)] for _ in range(3))
            while drawing.textlength(text, font=font) > width - 60:
                text = text[: int(len(text) * 0.9)]
            drawing.text((30, 20 + 1.4 * (size + 2) * place), text, fill=ink, font=font)

    return draw


def word(text: str, size: int, ink: int = 0):
    return lambda drawing: drawing.text((300, 300), text, fill=ink, font=ImageFont.load_default(size=size))


def scatter(count: int, largest: int):
    def draw(drawing: ImageDraw.ImageDraw) -> None:
        for _ in range(count):
            (x, y), r = NOISE.integers(0, SIZE), int(NOISE.integers(1, largest))
            drawing.ellipse((x, y, x + r, y + r), fill=0)

    return draw


def figure(drawing: ImageDraw.ImageDraw) -> None:
    for _ in range(60):
        drawing.line([tuple(NOISE.integers(0, SIZE)) for _ in range(2)], fill=0, width=2)
    for _ in range(40):
        x, y = NOISE.integers(0, (1_100, 700))
        drawing.ellipse((x, y, x + 80, y + 50), outline=0)


def grid(drawing: ImageDraw.ImageDraw) -> None:
    for y in range(50, 750, 20):
        drawing.line((50, y, 1_150, y), fill=0)
    for x in range(50, 1_150, 40):
        drawing.line((x, 50, x, 750), fill=0)


def bar_code(drawing: ImageDraw.ImageDraw) -> None:
    x = 100
    while x < 700:
        width = int(NOISE.integers(1, 5))
        drawing.rectangle((x, 300, x + width, 400), fill=0)
        x += width + int(NOISE.integers(2, 6))


def clouds(sigma: float) -> np.ndarray:
    field = cv2.GaussianBlur(NOISE.normal(0, 1, SIZE[::-1]), (0, 0), sigma)
    level = 255 * (field - field.min()) / (field.max() - field.min())
    return np.dstack([level.astype(np.uint8)] * 3)


PRINT = {
    **{f"{size} pixels": drawn(lines(size)) for size in (4, 5, 6, 8, 12, 24, 48)},
    "90 pixels": drawn(lines(90, count=5)),
    "one word": drawn(word("Harbour", 26)),
    "one small word": drawn(word("Harbour", 12)),
    "white on black": drawn(lines(20, 255), paper=0),
    "gray on gray": drawn(lines(20, 90), paper=180),
    "a long strip": drawn(lines(24, count=1, width=6_000), (6_000, 60)),
    "up the page": np.ascontiguousarray(np.rot90(drawn(lines(20)))),
    "small on a large page": drawn(lines(7, count=3), (3_000, 3_000)),
}
NO_PRINT = {
    "nothing": drawn(lambda drawing: None),
    "noise": NOISE.integers(0, 256, (800, 1_200, 3), dtype=np.uint8),
    "grain": clouds(2),
    "clouds": clouds(6),
    "a halftone": drawn(
        lambda drawing: [drawing.point((x, y), 0) for x in range(0, 1_200, 4) for y in range(0, 800, 4)]
    ),
    "a drawing": drawn(figure),
    "a grid": drawn(grid),
    "a bar code": drawn(bar_code),
    "dirt": drawn(scatter(300, 5)),
    "punch holes": drawn(scatter(4, 40)),
    "what shines through": (255 - 0.15 * (255.0 - drawn(lines(20))[:, ::-1])).astype(np.uint8),
}


@pytest.mark.parametrize("kind", PRINT)
def test_print_that_nobody_read_is_told(kind):
    assert unread_print(PRINT[kind], ()) == "the page shows what looks like text, and none could be read"


@pytest.mark.parametrize("kind", NO_PRINT)
def test_what_is_no_print_is_not_taken_for_it(kind):
    assert unread_print(NO_PRINT[kind], ()) == ""


def box_of(place: int, size: int) -> tuple[float, float, float, float]:
    y = 20 + 1.4 * (size + 2) * place
    return 25.0, y, SIZE[0] - 25.0, y + 1.3 * size


@pytest.mark.parametrize("size", [8, 12, 24])
def test_a_page_of_which_little_was_read_is_told_and_one_that_was_read_is_not(size):
    page = drawn(lines(size, count=20))
    told = "the page shows what looks like more text than could be read"
    assert unread_print(page, [box_of(place, size) for place in range(3)]) == told
    assert unread_print(page, [box_of(place, size) for place in range(20)]) == ""
    assert unread_print(page, [box_of(place, size) for place in range(2, 20)]) == ""


def test_a_caption_below_a_picture_is_all_there_is():
    page = np.vstack([NO_PRINT["grain"], PRINT["one word"]])
    assert unread_print(page, [(290.0, 1_095.0, 420.0, 1_135.0)]) == ""


def test_a_completion_says_what_was_not_read():
    page = straighten(PRINT["24 pixels"], 0, 0.0)
    none = completion_of(page, [], Rules())
    assert (none.text, none.flags) == ("", ("unread_ink",)) and "none could be read" in none.unread
    read = [TextLine("a line", box_of(place, 24)) for place in range(12)]
    assert completion_of(page, read, Rules()).flags == ()
    picture = completion_of(straighten(NO_PRINT["a drawing"], 0, 0.0), [], Rules())
    assert (picture.unread, picture.flags) == ("", ("no_text",))
    nothing = completion_of(straighten(NO_PRINT["nothing"], 0, 0.0), [], Rules())
    assert nothing == Completion("", flags=("no_text",))


def test_a_row_with_unread_print_is_a_fallback_with_its_reason():
    unread = Completion("", flags=("unread_ink",), unread="the page shows what looks like text")
    bench = Bench(FakeEngine(by_page(p1=unread)))
    bench.read(chunk(page(1), page(2)))
    first, second = sorted(bench.rows, key=lambda row: row.page)
    assert (first.status, first.reason) == (Status.FALLBACK, unread.unread)
    assert "unread_ink" in first.flags and second.status is Status.OK


@pytest.fixture(scope="module")
def rapid():
    return load_engine(EngineConfig())


def read(engine, image: np.ndarray) -> Completion:
    return asyncio.run(engine.read(Request("a", 1, [image])))


def test_the_embedded_engine_tells_of_print_too_small_to_read(rapid):
    answer = read(rapid, drawn(lines(4, count=60)))
    assert answer.unread and "unread_ink" in answer.flags


@pytest.mark.parametrize("kind", ["a drawing", "grain"])
def test_the_embedded_engine_finds_no_text_in_pictures(rapid, kind):
    answer = read(rapid, NO_PRINT[kind])
    assert (answer.text, answer.unread, answer.flags) == ("", "", ("no_text",))


def test_the_embedded_engine_reads_a_long_strip(rapid):
    text = "The ferry sails at seven in the morning and at four in the afternoon. " * 4
    strip = drawn(
        lambda drawing: drawing.text((30, 20), text, fill=0, font=ImageFont.load_default(size=30)),
        (6_000, 80),
    )
    answer = read(rapid, strip)
    assert " ".join(answer.text.split()).count("The ferry sails at seven in the morning") == 4
    assert answer.unread == ""


@pytest.mark.parametrize(("width", "height", "count"), [(3_200, 3_000, 90), (9_000, 700, 20)])
def test_the_embedded_engine_finds_every_line_of_a_large_page(rapid, width, height, count):
    def small(drawing: ImageDraw.ImageDraw) -> None:
        for place in range(count):
            text = LETTER[place % len(LETTER)] * 99
            while drawing.textlength(text, font=font) > width - 60:
                text = text[: int(len(text) * 0.9)]
            drawing.text((30, 30 + 32 * place), text, fill=0, font=font)

    font = ImageFont.load_default(size=20)
    found = rapid._detected(drawn(small, (width, height)))
    assert len(found) == count
    assert all(np.ptp(line[:, 0]) > 0.8 * width for line in found)


def test_one_word_in_the_corner_of_an_enormous_page_is_read(rapid):
    answer = read(rapid, drawn(word("Harbour 1848", 24), (5_000, 4_000)))
    assert answer.text == "Harbour 1848"
