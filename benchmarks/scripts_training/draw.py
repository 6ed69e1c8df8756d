"""Lines of text as pictures: fonts, ink and paper, and what scanning does to them."""

from __future__ import annotations

import io
import random
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pymupdf
from PIL import Image, ImageDraw, ImageFilter, ImageFont

FONT_FOLDER = Path("/usr/share/fonts")

# Families that no training line is drawn in.
HELD_OUT = ("Free", "NotoSerif", "SILEOT", "NanumMyeongjo", "ipam", "uming", "builtin:fi", "builtin:ti",
            "builtin:co")  # fmt: skip
BUILTIN = ("helv", "tiro", "cour", "tiit", "hebo", "figo", "figbo", "notos", "ubuntu", "cascadia", "china-s")

DEFECTS = ("none",) * 6 + ("blur", "noise", "coarse", "skew", "jpeg", "threshold", "bold", "thin", "squeeze")

EXEMPLARS = {
    "covered": "aqßéŠůğ", "zh": "中龜", "ja": "あ漢", "Greek": "ώςΨϊ", "Cyrillic": "жЪіўө",
    "Arabic": "قپٹ", "Hebrew": "קץ",
    "Hangul": "한뷁", "Devanagari": "हक्", "Bengali": "হৰ", "Tamil": "த", "Telugu": "త", "Kannada": "ಕ",
    "Malayalam": "മ", "Gujarati": "ગ", "Gurmukhi": "ਗ", "Sinhala": "ස", "Ethiopic": "ሀቐ", "Armenian": "հՖ",
    "Georgian": "გჯ", "Thai": "กฮ", "Lao": "ກ", "Khmer": "ក", "Myanmar": "က", "Vietnamese": "ảỡợ",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Style:
    """How the lines of one page are drawn: font, size in pixels, ink and paper (grey), and one defect."""

    font: str
    size: int
    ink: int
    paper: int
    defect: str
    amount: float
    margins: tuple[float, float]


@cache
def fonts(script: str, held_out: bool) -> tuple[str, ...]:
    """Font files (and names of fonts that PyMuPDF carries) with every exemplar character of a script."""
    files = [str(p) for p in sorted(FONT_FOLDER.rglob("*")) if p.suffix in {".ttf", ".otf", ".ttc"}]
    names = files + [f"builtin:{name}" for name in BUILTIN]
    return tuple(n for n in names if is_held_out(n) == held_out and _covers(n, EXEMPLARS[script]))


def is_held_out(font: str) -> bool:
    return Path(font).name.startswith(HELD_OUT)


@cache
def _pymupdf_font(font: str) -> Any:
    name = font.removeprefix("builtin:")
    return pymupdf.Font(name) if name != font else pymupdf.Font(fontfile=font)


def _covers(font: str, characters: str) -> bool:
    try:
        found = _pymupdf_font(font)
    except (RuntimeError, ValueError) as problem:  # a bitmap or damaged font
        print(f"{font}: {problem}")
        return False
    return all(found.has_glyph(ord(c)) for c in characters)


@lru_cache(maxsize=256)
def pillow_font(font: str, size: int) -> ImageFont.FreeTypeFont:
    source = io.BytesIO(_pymupdf_font(font).buffer) if font.startswith("builtin:") else font
    return ImageFont.truetype(source, size)


def style(rng: random.Random, font: str) -> Style:
    defect = rng.choice(DEFECTS)
    size = rng.choice([16, 18, 20, 21, 22, 24, 26, 28, 32, 40])
    ink = rng.choice([0, 0, 20, 60, 90])
    paper = rng.choice([255, 255, 245, 225, 200])
    margins = (rng.uniform(0.05, 0.3), rng.uniform(0.0, 0.4))
    return Style(font, size, ink, paper, defect, rng.random(), margins)


def draw(rng: random.Random, text: str, style: Style) -> np.ndarray[Any, Any]:
    """One line, cut out as a detector's box would be. BGR, uint8."""
    font = pillow_font(style.font, style.size)
    left, top, right, bottom = font.getbbox(text)
    across, down = (max(2, round(m * style.size)) for m in (style.margins[1], style.margins[0]))
    width, height = max(1, int(right - left)) + 2 * across, max(1, int(bottom - top)) + 2 * down
    image = Image.new("L", (width, height), style.paper)
    ImageDraw.Draw(image).text((across - left, down - top), text, style.ink, font=font)
    pixels = np.asarray(spoil(rng, image, style.defect, style.amount))
    return np.repeat(pixels[:, :, None], 3, axis=2)


def picture(rng: random.Random) -> np.ndarray[Any, Any]:
    """What a detector may take for a line of text and is none: parts of photos and drawings."""
    height = rng.randint(14, 60)
    width = round(height * rng.choice([1, 1, 1.5, 2, 2, 3, 5]) * rng.uniform(0.8, 1.2))
    image = Image.new("L", (width, height), rng.choice([255, 230, 128]))
    drawing = ImageDraw.Draw(image)
    kind = rng.choice(["texture", "strokes", "rules", "bars"])
    if kind == "texture":
        grains = np.random.default_rng(rng.getrandbits(32)).integers(
            0, 256, (height // 4 + 1, width // 4 + 1)
        )
        image = Image.fromarray(grains.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    elif kind == "strokes":
        points = [(rng.uniform(0, width), rng.uniform(0, height)) for _ in range(rng.randint(3, 12))]
        drawing.line(sorted(points) if rng.random() < 0.5 else points, fill=30, width=rng.randint(1, 3))
    elif kind == "rules":
        for _ in range(rng.randint(1, 3)):
            y = rng.randint(0, height)
            drawing.line([(0, y), (width, y + rng.randint(-2, 2))], fill=40, width=rng.randint(1, 4))
    else:
        for x in range(0, width, rng.randint(3, 9)):
            drawing.line([(x, 2), (x, height - 2)], fill=rng.choice([0, 120]), width=rng.randint(1, 4))
    return np.repeat(np.asarray(image)[:, :, None], 3, axis=2)


def spoil(rng: random.Random, image: Image.Image, defect: str, amount: float) -> Image.Image:
    """What scanning does to a grey picture; ``amount`` is 0 (hardly) to 1 (barely legible)."""
    width, height = image.size
    if defect == "blur":
        return image.filter(ImageFilter.GaussianBlur(0.4 + 1.0 * amount))
    if defect == "noise":
        noise = np.random.default_rng(rng.getrandbits(32)).normal(0, 10 + 40 * amount, (height, width))
        return Image.fromarray(np.clip(np.asarray(image, float) + noise, 0, 255).astype(np.uint8))
    if defect == "coarse":
        factor = 1.3 + 1.2 * amount
        small = image.resize(
            (max(1, round(width / factor)), max(1, round(height / factor))), Image.Resampling.BOX
        )
        return small.resize((width, height), Image.Resampling.BILINEAR)
    if defect == "skew":
        paper = int(np.asarray(image).max())
        return image.rotate(
            rng.choice([-1, 1]) * 1.2 * amount, Image.Resampling.BICUBIC, True, fillcolor=paper
        )
    if defect == "jpeg":
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=round(45 - 35 * amount))
        return Image.open(buffer).convert("L")
    if defect == "threshold":
        return image.point(lambda v: 255 if v > 110 + 80 * amount else 0)
    if defect == "bold":
        return image.filter(ImageFilter.MinFilter(3))
    if defect == "thin":
        return image.filter(ImageFilter.MaxFilter(3)) if amount < 0.3 else image
    if defect == "squeeze":
        return image.resize((max(1, round(width * (0.75 + 0.6 * amount))), height), Image.Resampling.BICUBIC)
    return image
