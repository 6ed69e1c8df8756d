"""Any kind of pixels as 8-bit gray or RGB that show all the ink there is. Pillow images in and out."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from actors.render.ink import edges_of, straight

FULL = 65_535
DEEPEST = 2**14
"""Samples that all stay below are taken for fewer than 16 bits, as scanners and cameras store them."""
NARROW, LEAST_RANGE = 16, 64
"""Samples that fill less than one in so many of their levels, and at least so many levels, are stretched."""
BULK, SAMPLES = 99.9, 1_000_000
"""Per cent of the samples that decide where a few of them (hot pixels) are far above."""
NO_ALPHA = 8
"""Opacity up to which all of an image is meant to be seen all the same: many programs leave it 0."""
TRANSPARENT = 128
CHECKED_PIXELS = 2_000_000
EDGE = 24
MIN_HIDDEN = 24
"""Pixels of curved edges that another ground shows and white does not: a small digit has as many."""
GROUNDS = ((0, 0, 0), (128, 128, 128))
WHITE = (255, 255, 255)

Samples = npt.NDArray[Any]
Levels = npt.NDArray[np.uint8]


def flatten(image: Image.Image) -> Image.Image:
    """Any mode as 8-bit ``L`` or ``RGB``: deep samples scaled by what they hold, transparency on white or
    on what shows more."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return Image.fromarray(to_levels(np.asarray(image)))
    if image.has_transparency_data:
        return _on_ground(image.convert("RGBA"))
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def to_levels(samples: Samples) -> Levels:
    """Samples of unknown depth as 8 bits. Floats to 1 are taken as meant, whole numbers by the bits they
    fill; what lies beyond 16 bits, below 0 or in a narrow band is stretched."""
    if samples.dtype.kind == "u" and samples.dtype.itemsize <= 2:
        table = _scaled(np.arange(FULL + 1, dtype=np.float32), *_range(samples))
        levels: Levels = table[samples]
        return levels
    values = _finite(samples.astype(np.float32))
    low = float(values.min())
    if low < 0:
        values = values - low
    return _scaled(values, *_range(values))


def _scaled(values: npt.NDArray[np.float32], black: float, white: float) -> Levels:
    levels: Levels = np.clip((values - black) * (255 / (white - black)), 0, 255).astype(np.uint8)
    return levels


def _finite(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """What is infinite or no number as levels of their own, beyond all others."""
    good = np.isfinite(values)
    if good.all():
        return values
    low, high = (float(values[good].min()), float(values[good].max())) if good.any() else (0.0, 1.0)
    step = high - low or 1.0
    return np.nan_to_num(values, nan=low - 2 * step, posinf=high + step, neginf=low - step)


def _range(samples: Samples) -> tuple[float, float]:
    """The samples that become black and white."""
    low, high = float(samples.min()), float(samples.max())
    bulk = float(np.percentile(samples.ravel()[:: max(1, samples.size // SAMPLES)], BULK))
    if 0 < bulk < high / NARROW:
        high = bulk
    if high > FULL:
        return low, max(high, low + 1)
    if high <= 1:
        return 0.0, 1.0
    full = FULL if high >= DEEPEST else 2 ** int(high).bit_length() - 1
    if LEAST_RANGE <= high - low < full / NARROW:
        return low, high
    return 0.0, float(full)


def _on_ground(rgba: Image.Image) -> Image.Image:
    """An image with transparency on white, or on the ground that shows ink which white hides."""
    alpha = np.asarray(rgba.getchannel("A"))
    least, most = int(alpha.min()), int(alpha.max())
    if most <= NO_ALPHA or least == 255:
        return rgba.convert("RGB")
    return _pasted(rgba, _ground(rgba) if least < TRANSPARENT else WHITE)


def _pasted(rgba: Image.Image, colour: tuple[int, int, int]) -> Image.Image:
    ground = Image.new("RGB", rgba.size, colour)
    ground.paste(rgba, mask=rgba.getchannel("A"))
    return ground


def _ground(rgba: Image.Image) -> tuple[int, int, int]:
    small = rgba.reduce(max(1, int((rgba.width * rgba.height / CHECKED_PIXELS) ** 0.5)))
    on_white = _strong(_pasted(small, WHITE))
    best, most = WHITE, MIN_HIDDEN
    for ground in GROUNDS:
        edges = _strong(_pasted(small, ground))
        more, less = edges & ~on_white, on_white & ~edges
        gained = int(np.count_nonzero(more & ~straight(more))) - int(np.count_nonzero(less))
        if gained > most:
            best, most = ground, gained
    return best


def _strong(image: Image.Image) -> npt.NDArray[np.bool_]:
    return edges_of(np.asarray(image.convert("L"))) >= EDGE
