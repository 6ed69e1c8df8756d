"""Draw pages of lines and let RapidOCR's recogniser read them: one JSON record per line."""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rapidocr import RapidOCR
from rapidocr.ch_ppocr_rec.typings import TextRecInput

from benchmarks.scripts_training import draw, texts

PARAMS = {
    "Global.use_cls": False,
    "Global.log_level": "error",
    "EngineConfig.onnxruntime.intra_op_num_threads": 1,
    "EngineConfig.onnxruntime.inter_op_num_threads": 1,
}
LINES = 10


def page_texts(rng: random.Random, language: texts.Language) -> list[tuple[str, str]]:
    """The lines of one page, each with its script: prose, and now and then a line without any."""
    short = rng.random() < 0.15
    lines = []
    for _ in range(LINES):
        count = rng.randint(1, 3) if short or rng.random() < 0.15 else rng.randint(3, 9)
        if language.code == "zh" and rng.random() < 0.3:
            lines.append((texts.traditional(rng), texts.COVERED))
        elif rng.random() < 0.1:
            lines.append((texts.wordless(rng), texts.COVERED))
        else:
            lines.append((texts.prose(rng, language, count), language.script))
    return lines


def pages(
    rng: random.Random, held_out: bool, count: int, only: list[str] | None = None
) -> Iterator[dict[str, Any]]:
    """Pages in random languages: 45 % of them covered ones, and 15 % without prose; or ``only`` scripts."""
    own = [x for x in texts.LANGUAGES if x.held_out == held_out or _only_one(x)]
    covered = [x for x in own if x.script == texts.COVERED]
    scripts = only or sorted({x.script for x in own} - {texts.COVERED})
    for number in range(count):
        kind = rng.random() if not only else 0.0
        if kind < 0.40:
            language = rng.choice(scripts)
            language = rng.choice([x for x in own if x.script == language])
            key = language.script
        else:
            language = rng.choice(covered)
            key = language.code if language.code in ("zh", "ja") else texts.COVERED
        font = rng.choice(draw.fonts(key, held_out) or draw.fonts(key, not held_out))
        lines = page_texts(rng, language)
        if kind > 0.85:
            lines = [(texts.wordless(rng), texts.COVERED) for _ in range(LINES)]
            font = rng.choice(draw.fonts(texts.COVERED, held_out))
        if kind > 0.96:  # no text at all: the boxes that a detector finds in pictures
            lines = [("", texts.COVERED)] * LINES
        yield {"page": number, "language": language.code, "style": draw.style(rng, font), "lines": lines}


def _only_one(language: texts.Language) -> bool:
    return sum(x.script == language.script for x in texts.LANGUAGES if x.code not in ("zh", "ja")) == 1 or (
        language.code in ("zh", "ja")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--lines", type=int, default=200)
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--only", nargs="*", help="scripts, instead of all")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    read = RapidOCR(params=PARAMS)._load_rec_model()
    rng = random.Random(options.seed)
    with options.out.open("w", encoding="utf-8") as out:
        for page in pages(rng, options.held_out, options.lines // LINES, options.only):
            images = [draw.draw(rng, t, page["style"]) if t else draw.picture(rng) for t, _ in page["lines"]]
            result = read(TextRecInput(img=images))
            rows = zip(page["lines"], images, result.txts, result.scores, strict=True)
            for (truth, script), image, text, score in rows:
                record = {
                    "page": page["page"], "language": page["language"], "script": script, "truth": truth,
                    "text": text, "score": round(float(score), 4),
                    "aspect": round(image.shape[1] / image.shape[0], 2),
                    "font": Path(page["style"].font).stem, "size": page["style"].size,
                    "defect": page["style"].defect, "amount": round(page["style"].amount, 2),
                }  # fmt: skip
                out.write(json.dumps(record, ensure_ascii=False) + "\n")
            out.flush()


if __name__ == "__main__":
    main()
