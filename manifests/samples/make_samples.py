"""Makes ``documents/`` and ``known_text.json``: a small corpus whose text is known.

Run ``python manifests/samples/make_samples.py`` from the repository root. The results are committed;
the same versions of PyMuPDF, Pillow and NumPy make the same bytes again. Every word in it was written
for this project, and the fonts are those of the PDF standard, so the corpus falls under its licence.
"""

from __future__ import annotations

import io
import json
import textwrap
from pathlib import Path

import numpy as np
import pymupdf
from PIL import Image, ImageFilter

SEED = 20250314
HERE = Path(__file__).resolve().parent
A4 = (595, 842)
A5 = (420, 595)
ORIENTATION_TAG = 0x0112
TURNED_RIGHT = 6  # EXIF: the viewer has to turn the stored pixels clockwise by 90 degrees
LINE_HEIGHT = 1.45

LETTER = [
    """Whitmoor Harbour Library
14 Quay Street

3 October 1962

Dear Miss Aldous,

Thank you for your letter of the 21st and for the parcel of photographs that came with it. They arrived \
dry, in spite of the weather, and we opened them the same afternoon in the reading room.

You ask whether the lighthouse in the third picture is ours. We believe that it is not. Our own tower has \
eleven windows on the side that faces the sea, and the one in your picture has only nine. The railing is \
also too low. Mr Penrose, who kept the lamp for thirty years, thinks that it must be the old light at \
Carrow Point, which was taken down in 1931 after the second of the great storms.

The boats in the fifth picture are easier to name. The one on the left is the Margaret, built here in 1904 \
for the Tollan brothers. She carried slate until the railway came, and then potatoes, and for one summer a \
travelling circus.""",
    """We should like to copy all twelve pictures for our collection, if you allow it. The copies would be \
kept in the fireproof room together with the harbour books, and your name would stand beside each of them \
in the catalogue. The originals would go back to you by registered post before Christmas.

There is one thing more. On the back of the ninth picture somebody has written a list of prices: rope, 4 \
shillings; tar, 2 shillings and 6 pence; lamp oil, 1 shilling; biscuit, 9 pence. If you know whose hand it \
is, please tell us. It looks very much like the hand in our account book of 1908, and that book has had no \
owner for as long as anyone here can remember.

With kind regards,

Edith Marlowe
Librarian""",
]

MINUTES = [
    """MINUTES OF THE HARBOUR COMMITTEE

Tuesday 9 March 1926

Present: Mr Tollan in the chair, Mrs Hale, Captain Ross, Mr Penrose, and the clerk.

1. The minutes of the last meeting were read and signed.

2. The clerk reported that the north wall had lost forty stones in the January gale. The mason asked for \
60 pounds to set them again. The committee agreed to pay 55 pounds, and to lend him the crane.

3. Captain Ross complained that nets were being dried on the mooring posts. A notice will be painted.""",
    """4. Mrs Hale asked why the lamp on the fish steps was dark on three nights in February. Mr Penrose \
answered that the gulls had broken the glass. A wire cage will be made for it.

5. A letter from the railway company was read. The company offers to carry fish to the city at half price \
on Mondays and Thursdays until the end of June. The offer was accepted with thanks.

The meeting closed at nine o'clock. The next will be held on Tuesday 13 April.""",
]

NOTICE = """NOTICE

Nets must not be dried on the mooring posts.

Boats that stay for more than two nights pay the harbour master before they leave.

The ferry to Saint Brannock sails at 7.15 in the morning and at 4.40 in the afternoon, weather permitting.

By order of the committee, 16 March 1926"""

CARDS = [
    """Card 118

Margaret, ketch, 62 tons.
Built at Whitmoor in 1904.
Owners: J. and A. Tollan.

Carried slate to the city until 1912, and potatoes after that. Sold north in 1929.""",
    """Card 119

Morning Star, lugger, 18 tons.
Built at Carrow in 1897.
Owner: Widow Hale.

Lost her mast off the point in the gale of January 1926 and was towed in by the lifeboat.""",
]

LABEL = """Box 7, shelf C

Twelve photographs lent by Miss R. Aldous, October 1962.

To be copied and sent back by registered post. Please do not write on the backs, and wear the cotton \
gloves that hang beside the door."""


def main() -> None:
    """Write every document, and what a perfect reader would read in each page of it."""
    rng = np.random.default_rng(SEED)
    known: dict[str, list[str]] = {}

    def keep(name: str, data: bytes, pages: list[str]) -> None:
        path = HERE / "documents" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        known[f"documents/{name}"] = pages

    keep("letter.pdf", _text_pdf(LETTER, A4, "helv", 11), LETTER)

    minutes = [MINUTES[0], "", MINUTES[1]]  # the back of the first sheet is blank
    scans = [_scanned(text, A5, "tiro", 11, rng) for text in minutes]
    keep("harbour/minutes-1926-03.pdf", _scanned_pdf(scans, A5), minutes)

    keep("harbour/notice.png", _png(_page_image(NOTICE, A5, "hebo", 13)), [NOTICE])
    keep("cards/ketches.tif", _tiff([_page_image(card, A5, "cour", 12) for card in CARDS]), CARDS)
    keep("cards/box label.jpg", _turned_jpeg(_scanned(LABEL, A5, "helv", 14, rng)), [LABEL])

    text = json.dumps(known, indent=2, ensure_ascii=False)
    (HERE / "known_text.json").write_text(f"{text}\n", encoding="utf-8")


def _text_pdf(texts: list[str], size: tuple[int, int], font: str, points: float) -> bytes:
    """A PDF that carries its text as text."""
    document = pymupdf.open()
    for text in texts:
        _typeset(document, text, size, font, points)
    return _saved(document)


def _typeset(document: pymupdf.Document, text: str, size: tuple[int, int], font: str, points: float) -> None:
    page = document.new_page(width=size[0], height=size[1])
    margin = size[0] / 9
    widest = int((size[0] - 2 * margin) / pymupdf.get_text_length("n", font, points))
    y = margin + points
    for paragraph in text.split("\n"):
        for line in textwrap.wrap(paragraph, widest) or [""]:
            page.insert_text((margin, y), line, fontname=font, fontsize=points)
            y += points * LINE_HEIGHT


def _page_image(text: str, size: tuple[int, int], font: str, points: float, dpi: int = 150) -> Image.Image:
    """A typeset page as grey pixels."""
    document = pymupdf.open()
    _typeset(document, text, size, font, points)
    pixels = document[0].get_pixmap(dpi=dpi, colorspace=pymupdf.csGRAY)
    return Image.frombytes("L", (pixels.width, pixels.height), pixels.samples)


def _scanned(
    text: str, size: tuple[int, int], font: str, points: float, rng: np.random.Generator
) -> Image.Image:
    """The page as an old flat-bed scanner sees it: a little turned, soft, on yellowed, grainy paper."""
    page = _page_image(text, size, font, points)
    turned = page.rotate(rng.uniform(-0.6, 0.6), Image.Resampling.BICUBIC, fillcolor=255)
    soft = turned.filter(ImageFilter.GaussianBlur(0.5))
    grain = rng.normal(0, 2.5, (soft.height, soft.width))
    ink = np.asarray(soft, dtype=np.float64) / 255
    return Image.fromarray(np.clip(45 + 190 * ink + grain, 0, 255).astype(np.uint8))


def _scanned_pdf(pages: list[Image.Image], size: tuple[int, int]) -> bytes:
    """A PDF of one JPEG per page, nothing else."""
    document = pymupdf.open()
    for image in pages:
        page = document.new_page(width=size[0], height=size[1])
        page.insert_image(page.rect, stream=_jpeg(image))
    return _saved(document)


def _saved(document: pymupdf.Document) -> bytes:
    document.set_metadata({"title": "", "producer": "pagefleet samples"})
    return bytes(document.tobytes(garbage=3, deflate=True, no_new_id=True))


def _jpeg(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=55, optimize=True, dpi=(150, 150), **options)
    return buffer.getvalue()


def _turned_jpeg(image: Image.Image) -> bytes:
    """Stored lying on its side, with the EXIF note that puts it upright, as cameras do."""
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = TURNED_RIGHT
    return _jpeg(image.rotate(90, expand=True), exif=exif)


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.quantize(16).save(buffer, "PNG", optimize=True, dpi=(150, 150))
    return buffer.getvalue()


def _tiff(frames: list[Image.Image]) -> bytes:
    buffer = io.BytesIO()
    first, *others = (frame.point(lambda value: 255 * (value > 150), mode="1") for frame in frames)
    first.save(buffer, "TIFF", save_all=True, append_images=others, compression="group4", dpi=(150, 150))
    return buffer.getvalue()


if __name__ == "__main__":
    main()
