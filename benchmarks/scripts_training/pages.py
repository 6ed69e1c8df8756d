"""Whole pages, detected and read by RapidOCR as it stands: how many of them are flagged."""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from rapidocr import RapidOCR

from actors.scripts.judge import judge_scripts
from benchmarks.scripts_training import collect, draw, texts

WIDTH, HEIGHT = 880, 700


def read_page(ocr: RapidOCR, image: np.ndarray[Any, Any]) -> list[tuple[str, float, float]]:
    """Text, confidence and aspect of every detected line, also of those that ``ocr(image)`` leaves out."""
    resized, record = ocr.preprocess_img(image)
    _, _, recognised, crops = ocr.run_ocr_steps(resized, record)
    if recognised.txts is None:
        return []
    rows = zip(recognised.txts, recognised.scores, crops, strict=True)
    return [(text, float(score), crop.shape[1] / crop.shape[0]) for text, score, crop in rows]


def draw_page(rng: random.Random, lines: list[str], style: draw.Style) -> np.ndarray[Any, Any]:
    """Lines one under the other with a ragged right edge, cut where the paper ends. BGR."""
    font = draw.pillow_font(style.font, style.size)
    image = Image.new("L", (WIDTH, HEIGHT), style.paper)
    drawing = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        while line and font.getlength(line) > WIDTH - 100:
            line = line[:-1]
        drawing.text((50, 40 + number * style.size * 1.7), line, style.ink, font=font)
    pixels = np.asarray(draw.spoil(rng, image, style.defect, style.amount))
    return np.repeat(pixels[:, :, None], 3, axis=2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--pages", type=int, default=60)
    parser.add_argument("--dump", type=Path, help="write what was read as JSON lines")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    ocr = RapidOCR(params=collect.PARAMS)
    wrong = 0
    dump = options.dump.open("w", encoding="utf-8") if options.dump else None
    for page in collect.pages(rng, True, options.pages):
        scripts = [script for text, script in page["lines"] if text]
        foreign = [s for s in scripts if s != texts.COVERED]
        lines = read_page(ocr, draw_page(rng, [text for text, _ in page["lines"]], page["style"]))
        verdict = judge_scripts([(t, s) for t, s, _ in lines], [a for _, _, a in lines])
        truth = foreign[0] if len(foreign) >= 0.5 * len(scripts) and foreign else texts.COVERED
        if verdict.covered != (truth == texts.COVERED):
            wrong += 1
            print(truth, page["language"], page["style"], verdict, *lines, sep="\n  ")
        if dump:
            kept = {"truth": truth, "language": page["language"], "lines": lines}
            dump.write(json.dumps(kept, ensure_ascii=False) + "\n")
            dump.flush()
    print(f"{wrong} of {options.pages} pages judged wrongly")


if __name__ == "__main__":
    main()
