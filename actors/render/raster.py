"""What every kind of document gives: pages as RGB arrays, of a size that the configuration decides."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from actors.chunks import TextLayer
from manifests.errors import PageError

RgbArray = npt.NDArray[np.uint8]
"""``uint8`` of shape (height, width, 3)."""


@dataclass(frozen=True, slots=True)
class Raster:
    """One rendered page.

    ``rotation`` is degrees clockwise that were applied to bring it upright. ``warning`` is the
    decoder's first complaint where it went on regardless, else ``""``.
    """

    image: RgbArray
    rotation: int = 0
    flags: tuple[str, ...] = ()
    warning: str = ""


@dataclass(frozen=True, slots=True)
class FoundLayer:
    """The text layer of a page, and the size of the page if it were rendered.

    ``layer`` is None where its text is of no use. ``flags`` say why it is not to be trusted.
    """

    layer: TextLayer | None
    width: int
    height: int
    flags: tuple[str, ...] = ()


class OpenPages(Protocol):
    """An open document. Not thread-safe."""

    @property
    def page_count(self) -> int:
        """At least 1."""

    def render(self, page: int) -> Raster:
        """Render one page, counted from 1. Raises whatever its decoder raises on a bad page."""

    def find_layer(self, page: int) -> FoundLayer | None:
        """The text that the page itself holds, None where there is none. Raises like ``render``."""

    def doubt_of_blank(self, page: int) -> str:
        """Why a page whose raster shows nothing may hold something all the same; ``""`` where it cannot."""

    def release_memory(self) -> None:
        """Give back what the decoder cached; the document stays open."""

    def close(self) -> None:
        """Close the file. Rasters already handed out stay valid."""


def fit_scale(width: float, height: float, scale: float, max_pixels: int) -> float:
    """``scale``, or less where width × height, each rounded up, would exceed ``max_pixels``."""
    if width * height * scale * scale > max_pixels:
        scale = math.sqrt(max_pixels / (width * height))
    while math.ceil(width * scale) * math.ceil(height * scale) > max_pixels:
        scale *= 0.995
    return scale


def refuse_many_pixels(width: int, height: int, max_source_pixels: int, what: str) -> None:
    """Raise PageError when an image holds more pixels than may be decoded."""
    if width * height > max_source_pixels:
        raise PageError(
            f"{what} has {width} x {height} = {width * height:,} pixels, more than the"
            f" {max_source_pixels:,} allowed (render.max_source_pixels)"
        )


def beyond_last_page(page: int, page_count: int) -> PageError:
    """The error for a page number that the document does not have."""
    return PageError(f"page {page} does not exist: the document has {page_count} page(s)")


def as_rgb_array(source: Any) -> RgbArray:
    """View anything with an array interface as an array; the array keeps ``source`` alive."""
    array: RgbArray = np.asarray(source, dtype=np.uint8)
    return array


def turn(image: RgbArray, degrees: int) -> RgbArray:
    """Turn clockwise by a multiple of 90 degrees."""
    return np.ascontiguousarray(np.rot90(image, -degrees // 90 % 4))
