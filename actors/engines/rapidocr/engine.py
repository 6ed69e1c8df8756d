"""The embedded CPU engine: RapidOCR with the models its wheel carries. One thread per replica.

The library's parts are used one by one, since a page is turned and straightened between finding its
lines and reading them, and since its own classifier of directions does more harm than good.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from statistics import median
from typing import Any

import cv2
import numpy as np
import rapidocr

from actors.engines.base import Completion, Engine, EngineInfo, Image, Request
from actors.engines.line_ocr.reading import completion_of, nothing_read
from actors.engines.line_ocr.rules import find_rules
from actors.engines.line_ocr.sizes import with_sizes
from actors.engines.line_ocr.unread import unread_print
from actors.engines.line_ocr.upright import (
    Quad,
    Upright,
    hull_of,
    lies_on_its_side,
    quad_of,
    sides,
    skew_of,
    straighten,
)
from actors.engines.rapidocr.long_lines import Reading, joined_reading, parts_of
from actors.engines.rapidocr.merged import cut_at_gutters
from actors.engines.rapidocr.overlooked import is_stroke, mostly_unread, overlooked
from actors.engines.rapidocr.tiles import joined, tiles_of
from actors.layout.lines import TextLine
from actors.render.raster import turn
from actors.scripts.judge import judge_scripts
from manifests.errors import EngineError

# The orientation classifier turns clean upright lines into garbage more often than it helps.
PARAMS = {
    "Global.use_cls": False,
    "Global.log_level": "error",
    "Global.max_side_len": 2_560,
    "Det.max_candidates": 5000,  # the default of 1,000 drops lines of a newspaper page without a word
    "Rec.rec_batch_num": 1,  # on a CPU a batch saves nothing, and pads every line to its longest
    "EngineConfig.onnxruntime.intra_op_num_threads": 1,
    "EngineConfig.onnxruntime.inter_op_num_threads": 1,
}
DETECTION_SIDE = 1_280
"""Lines are found on a page with so many pixels on its longer side (where it is long, with ``LEAST_SIDE`` on
its shorter one), and read from the page's own. That halves the time of detection; on pages of 9-point type at
150 dpi it finds the same lines."""
SMALL_LINE = 14.0
"""Lines no higher than this are looked for again on a page twice as large, in tiles, and so are pages with
few lines and most of their ink outside: of dense text askew, the detector may see nothing on a small page."""
FLATTEST, LEAST_SIDE = 4, 736
"""A tile that is longer gets white beside it: RapidOCR enlarges what has fewer pixels on its shorter side."""
FEW_LINES = 10
PROBES = 6
SURE = 0.9
"""Mean confidence of the probes from which on a page is upright without trying the other way."""
CLEARLY = 0.05
PRINTED = 0.6
"""Contrast of a probe, at least, in that of the page's clearest line: what shines through has less."""
FAINT = 70
"""Grey levels from paper to ink under which a line may shine through from the other side."""
CERTAIN = 0.97
LEGIBLE = 0.75
"""Confidence under which a faint line is not text."""
BARELY_VISIBLE, BARELY_LEGIBLE = 30, 0.92
"""The same for lines that are hardly there: what shines through has 10 to 45 grey levels, pencil 50."""
MIN_SCORE = 0.5
"""The library's own: lines read with less confidence are not text."""
BOX_MARGIN = 0.4
"""White beside the letters of a detected box, in its heights; measured on pages of known text."""
SIDEWAYS = 2.5
"""A box so much taller than wide, and of several letters, is a line that runs up the page."""

LOW_QUOTE = re.compile(r"(?:^|(?<=[\s(\[])),{1,2}(?=[^\W\d])")
"""The dictionary has no low opening quote and gives a comma: one that touches the next word only is none."""


class RapidOcrEngine(Engine):
    """Reads a page's lines and puts them in order. Raises ValueError on an unknown parameter."""

    def __init__(self, engine_args: Mapping[str, Any]) -> None:
        self._ocr = rapidocr.RapidOCR(params={**PARAMS, **engine_args})
        self._lock = asyncio.Lock()

    @property
    def info(self) -> EngineInfo:
        return EngineInfo(name="rapidocr", model="PP-OCRv6", concurrency=1, window=2, deterministic=True)

    async def read(self, request: Request) -> Completion:
        if len(request.images) != 1:
            raise EngineError(f"rapidocr reads one image per request, got {len(request.images)}")
        async with self._lock:
            return await asyncio.to_thread(self._read, request.images[0])

    def _read(self, image: Image) -> Completion:
        page, quads, known = self._upright(image)
        detected = len(quads)
        quads = [*quads, *overlooked(page.image, quads)]
        crops = [_crop(page.image, quad) for quad in quads]
        unknown = [index for index in range(len(quads)) if index not in known]
        known.update(zip(unknown, self._recognised([crops[index] for index in unknown]), strict=True))
        printed = sorted(known.keys() - self._shining_through(crops, known))
        lines = [
            TextLine(text, hull_of(quads[index]), score)
            for index in printed
            for text, score in [known[index]]
            if text.strip()
            and score >= MIN_SCORE
            and (index < detected or score >= CERTAIN or not is_stroke(quads[index]))
        ]
        if not printed:  # what is left of the lines that were found shines through from the other side
            return nothing_read(page.image)
        shapes = [crops[index].shape[1] / crops[index].shape[0] for index in printed]  # as they were read
        verdict = judge_scripts([known[index] for index in printed], shapes)
        if verdict.covered and not any(map(str.isalnum, "".join(line.text for line in lines))):
            return nothing_read(page.image)  # punch holes and dirt: nothing but bullets is no text
        completion = completion_of(page, with_sizes(lines, BOX_MARGIN), find_rules(page.image))
        return completion if verdict.covered else replace(completion, uncovered_script=verdict.script)

    def _shining_through(self, crops: Sequence[Image], readings: Mapping[int, Reading]) -> set[int]:
        """Indexes of faint lines that read better in a mirror, or not at all: the other side's."""
        contrasts = {index: _contrast(crops[index]) for index in readings}
        faint = [index for index, contrast in contrasts.items() if contrast < FAINT]
        faint = [index for index in faint if readings[index][1] < CERTAIN or not readings[index][0].strip()]
        mirrored = self._recognised([np.ascontiguousarray(crops[index][:, ::-1]) for index in faint])
        upended = self._recognised([np.ascontiguousarray(crops[index][::-1]) for index in faint])
        through = set()
        for index, *others in zip(faint, mirrored, upended, strict=True):
            text, score = readings[index]
            least = BARELY_LEGIBLE if contrasts[index] < BARELY_VISIBLE else LEGIBLE
            if not text.strip() or score < max(least, *(other for _, other in others)):
                through.add(index)
        return through

    def _upright(self, image: Image) -> tuple[Upright, list[Quad], dict[int, Reading]]:
        """The page upright and straight, its lines, and those that were read on the way, by index."""
        rotation = 0
        quads = self._detected(image)
        if lies_on_its_side(quads):
            image, rotation = turn(image, 90), 90
            quads = self._detected(image)
        page, quads = self._straightened(image, rotation, quads)
        probes = _probes(page.image, quads)
        crops = [_crop(page.image, quads[index]) for index in probes]
        readings = self._recognised(crops)
        if probes and _mean_score(readings) < SURE and self._stands_on_its_head(crops, readings):
            image, rotation = turn(image, 180), rotation + 180
            page, quads = self._straightened(image, rotation, self._detected(image))
            return page, quads, {}
        return page, quads, dict(zip(probes, readings, strict=True))

    def _stands_on_its_head(self, crops: Sequence[Image], readings: Sequence[Reading]) -> bool:
        """Whether lines read better the other way up; better yet in a mirror, and they shine through."""
        flipped = _mean_score(self._recognised([turn(crop, 180) for crop in crops]))
        if flipped <= _mean_score(readings) + CLEARLY:
            return False
        mirrored = (np.ascontiguousarray(crop[:, ::-1]) for crop in crops)
        upended = (np.ascontiguousarray(crop[::-1]) for crop in crops)
        return all(flipped > _mean_score(self._recognised(list(other))) for other in (mirrored, upended))

    def _straightened(self, image: Image, rotation: int, quads: list[Quad]) -> tuple[Upright, list[Quad]]:
        page = straighten(image, rotation, skew_of(quads))
        return page, cut_at_gutters(page.image, self._detected(page.image) if page.skew else quads)

    def _detected(self, image: Image) -> list[Quad]:
        """Corners of the lines, in pixels of the image; found on a smaller one where that is enough."""
        quads: list[Quad] = []
        sides_of = image.shape[:2]
        scale = min(1.0, max(DETECTION_SIDE / max(sides_of), LEAST_SIDE / min(sides_of)))
        while True:
            found = self._detected_at(image, scale)
            if len(found) >= len(quads):
                quads = found
            small = quads and scale * median(min(sides(quad)) for quad in quads) < SMALL_LINE
            if scale == 1:
                return quads
            few = len(quads) < FEW_LINES and mostly_unread(image, quads)
            if not (small or few or (not quads and unread_print(image, ()))):
                return quads
            scale = min(1.0, 2 * scale)

    def _detected_at(self, image: Image, scale: float) -> list[Quad]:
        if scale < 1:
            image = np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
        height, width = image.shape[:2]
        found = [(tile, self._detected_in(image, tile)) for tile in tiles_of(width, height)]
        return [quad / scale for quad in joined(found, width, height)]

    def _detected_in(self, image: Image, tile: tuple[int, int, int, int]) -> list[Quad]:
        x1, y1, x2, y2 = tile
        part = _less_flat(image[y1:y2, x1:x2])
        found = self._ocr(np.ascontiguousarray(part[:, :, ::-1]), use_det=True, use_rec=False)
        corner = np.array((x1, y1), np.float32)
        return [] if found.boxes is None else [quad_of(box) + corner for box in found.boxes]

    def _recognised(self, crops: Sequence[Image]) -> list[Reading]:
        parts = [parts_of(crop) for crop in crops]
        if not parts:
            return []
        flat = [np.ascontiguousarray(part[:, :, ::-1]) for crop in parts for part in crop]
        result = self._ocr.recognize_txt(flat)
        texts = (LOW_QUOTE.sub("„", text) for text in result.txts)
        readings = zip(texts, map(float, result.scores), strict=True)
        return [joined_reading(list(islice(readings, len(crop)))) for crop in parts]


def _less_flat(image: Image) -> Image:
    """A long image with its paper's colour beside it."""
    height, width = image.shape[:2]
    least = min(LEAST_SIDE, max(height, width) // FLATTEST)
    if min(height, width) >= least:
        return image
    paper = [float(level) for level in np.median(image[::4, ::4], axis=(0, 1))]
    below, right = max(0, least - height), max(0, least - width)
    return np.asarray(cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_CONSTANT, value=paper))


def _probes(image: Image, quads: Sequence[Quad]) -> list[int]:
    """Indexes of the lines that tell best whether the page stands on its head: long, not the longest, and
    printed on this side."""
    contrasts = [_contrast(_pixels(image, quad)) for quad in quads]
    ratios = [
        (width / max(height, 1.0), index)
        for index, quad in enumerate(quads)
        for width, height in [sides(quad)]
        if contrasts[index] >= PRINTED * max(contrasts)
    ]
    good = sorted((ratio, index) for ratio, index in ratios if ratio >= 3.0)
    middle = len(good) // 2
    return [index for _, index in good[max(0, middle - PROBES // 2) :][:PROBES]]


def _pixels(image: Image, quad: Quad) -> Image:
    """The pixels around a line, neither levelled nor turned."""
    x1, y1, x2, y2 = (max(0, round(value)) for value in hull_of(quad))
    return image[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)]


def _contrast(crop: Image) -> float:
    """Grey levels between the paper and the ink of a line."""
    grey = cv2.blur(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), (3, 3))
    return float(np.percentile(grey, 90) - np.percentile(grey, 2))


def _mean_score(readings: Sequence[Reading]) -> float:
    return sum(score for _, score in readings) / max(len(readings), 1)


def _crop(image: Image, quad: Quad) -> Image:
    """The pixels of a line, level; one that runs up the page is turned."""
    width, height = (max(1, round(side)) for side in sides(quad))
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    matrix = cv2.getPerspectiveTransform(quad, corners)
    crop = cv2.warpPerspective(
        image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE, flags=cv2.INTER_CUBIC
    )
    level = np.asarray(crop, np.uint8)
    return turn(level, 90) if height > SIDEWAYS * width else level
