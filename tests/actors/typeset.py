"""Small drawn pages with known words, for tests of engines that read pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pymupdf

LETTER = (
    "The ferry to Saint Brannock sails at seven in the",
    "morning and at four in the afternoon, weather",
    "permitting. Boats that stay for more than two nights",
    "pay the harbour master before they leave, and nets",
    "must not be dried on the mooring posts at all.",
    "By order of the committee in March of this year.",
)
GREEK = (
    "Το πλοίο για το νησί φεύγει κάθε πρωί στις επτά και",
    "επιστρέφει το απόγευμα, όταν ο καιρός το επιτρέπει.",
    "Οι βάρκες που μένουν περισσότερο από δύο νύχτες",
    "πληρώνουν τον λιμενάρχη πριν από την αναχώρησή τους.",
)


def typeset(lines: Sequence[str], size: float = 12.0, dpi: int = 110, font: str = "helv") -> np.ndarray:
    """Lines of text on a white page, as RGB pixels. A square one: flat ones are enlarged and take longer."""
    document = pymupdf.open()
    page = document.new_page(width=420, height=max(420, 80 + 1.6 * size * len(lines)))
    writer = pymupdf.TextWriter(page.rect)
    for place, line in enumerate(lines):
        writer.append((40, 50 + 1.6 * size * place), line, font=pymupdf.Font(font), fontsize=size)
    writer.write_text(page)
    pixels = page.get_pixmap(dpi=dpi)
    return np.frombuffer(pixels.samples, np.uint8).reshape(pixels.height, pixels.width, 3)


def words(text: str) -> list[str]:
    """The words of a Markdown text or of lines, in order."""
    return text.replace("\n", " ").split()
