"""The pages of ``tests/actors/script_pages.json``: true texts, drawn, and what RapidOCR reads of them.

The prose in articles.txt is Article 1 of the Universal Declaration of Human Rights (United Nations).
"""

from __future__ import annotations

import argparse
import json
import random
import textwrap
from pathlib import Path

from rapidocr import RapidOCR

from benchmarks.scripts_training import collect, draw
from benchmarks.scripts_training.pages import draw_page, read_page

NARROW = {"Chinese": 18, "Japanese": 18}

SCRIPTS = {
    "Russian": "Cyrillic", "Ukrainian": "Cyrillic", "Korean": "Hangul", "Hindi": "Devanagari",
    "Chinese": "zh", "Japanese": "ja", "one foreign line": "Cyrillic", "formulas": "Greek",
}  # fmt: skip
ENGLISH = textwrap.wrap(
    "The quality of mercy is not strained: it droppeth as the gentle rain from heaven.", 26
)

LINES = {
    "capitals": [line.upper() for line in ENGLISH],
    "code": [
        "def read(path: Path) -> list[str]:", "    with path.open() as file:", "        return file.read()",
        "for (int i = 0; i < n; i++) {", "    sum += values[i] * 0x1F;", "}  // sum_of_values",
        "$ ls -la /usr/share/fonts | wc -l", 'print(f"{name!r}: {value:.2f}")',
    ],
    "numbers": [
        "1 204   17.5   -3.2", "998   0.04   12.9 %", "2 017   88.1   -0.7", "31   105.0   44.4",
        "7   3.1   2",
    ],
    "formulas": [
        "f(x) = ∫ g(t) dt + C", "α = 0.05, β ≤ 1", "∀ε > 0 ∃δ > 0: |x − a| < δ", "ΔE = h · ν",
        "Let λ be an eigenvalue of A and μ one of B.", "σ² = Σ (x − μ)² / n", "sin(θ) cos(φ)",
        "CaCO3 + 2 HCl → CaCl2 + H2O + CO2",
    ],
    "page number": ["- 17 -"],
    "chapter": ["Chapter 3"],
    "one foreign line": [*ENGLISH, *ENGLISH, "Все люди рождаются"],
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("tests/actors/script_pages.json"))
    options = parser.parse_args()
    rng = random.Random(7)
    ocr = RapidOCR(params=collect.PARAMS)
    articles = (Path(__file__).with_name("articles.txt")).read_text(encoding="utf-8").splitlines()
    prose = dict(article.split(": ", 1) for article in articles)
    pages = {name: textwrap.wrap(text, NARROW.get(name, 32)) for name, text in prose.items()} | LINES
    rows = []
    for name, lines in pages.items():
        key = {"Chinese": "zh", "Japanese": "ja"}.get(name, "covered")
        key = {"Russian": "Cyrillic", "Ukrainian": "Cyrillic", "Korean": "Hangul", "Hindi": "Devanagari"}.get(
            name, key
        )
        font = rng.choice(draw.fonts(name if name in draw.EXEMPLARS else key, True))
        style = draw.Style(font, 28, 0, 255, "none", 0.0, (0.1, 0.1))
        read = [(t, round(s, 3), round(a, 2)) for t, s, a in read_page(ocr, draw_page(rng, lines, style))]
        rows.append({"page": name, "lines": read})
    text = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    options.out.write_text(f"[\n{text}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
