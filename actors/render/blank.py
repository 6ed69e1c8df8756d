"""Is there anything on the page? Conservative: only near-uniform pages are blank."""

from __future__ import annotations

import numpy as np

from actors.render.raster import RgbArray

ROW_STRIDE = 32
COLUMN_STRIDE = 16
BLOCK = 8
MAX_PIXEL_DISTANCE = 24
"""Levels. Sensor noise of sigma 4 reaches 23; a 6-point number in #ccc on white reaches 49."""
MAX_BLOCK_DISTANCE = 3.5
"""Levels of an 8x8 block's mean. Noise of sigma 3, blurred or through a JPEG, reaches 3.3; text that
shows through from the other side at 8 levels, too faint for the pixel test, reaches 3.7."""


def is_blank(image: RgbArray) -> bool:
    """True when every pixel and every 8x8 block mean is near the page's own colour.

    A page with ink is told by a coarse sample, in well under a millisecond.
    """
    sample = image[::ROW_STRIDE, ::COLUMN_STRIDE].transpose(2, 0, 1).reshape(3, -1)
    if np.any(sample.max(axis=1) - sample.min(axis=1) > 2 * MAX_PIXEL_DISTANCE):
        return False
    colour = np.median(sample, axis=1)
    if np.any(image.max(axis=0).max(axis=0) > colour + MAX_PIXEL_DISTANCE):
        return False
    if np.any(image.min(axis=0).min(axis=0) < colour - MAX_PIXEL_DISTANCE):
        return False
    height, width = (min(BLOCK, side) for side in image.shape[:2])
    parts = (image, image[-height:], image[:, -width:], image[-height:, -width:])  # blocks at all borders
    return all(_blocks_within(part, colour) for part in parts)


def _blocks_within(image: RgbArray, colour: np.ndarray) -> bool:
    """Whether the mean of every whole 8x8 block (less where the image is smaller) is near ``colour``."""
    height, width = image.shape[:2]
    rows, columns = min(BLOCK, height), min(BLOCK, width)
    whole = image[: height - height % rows, : width - width % columns]
    stripes = whole[::rows].astype(np.uint16)
    for row in range(1, rows):
        stripes += whole[row::rows]
    cells = stripes.reshape(height // rows, width // columns, columns, 3)
    blocks = cells[:, :, 0].copy()
    for column in range(1, columns):
        blocks += cells[:, :, column]
    return bool(np.all(np.abs(blocks / (rows * columns) - colour) <= MAX_BLOCK_DISTANCE))
