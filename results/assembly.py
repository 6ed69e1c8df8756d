"""One Markdown file per document, made from its rows alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import quote

from results.rows import Status

IMAGE_FLAG = "page_image"
"""The flag of a row whose rendered page lies in the document's assets folder."""

BETWEEN_PAGES = "\n\n"


@dataclass(frozen=True, slots=True)
class PageText:
    """What assembly needs of a row."""

    page: int
    status: str
    reason: str
    text: str
    has_image: bool = False


def markdown_file(markdown: str) -> str:
    """Store path of a document's Markdown."""
    return f"markdown/{markdown}.md"


def page_image_file(markdown: str, page: int) -> str:
    """Store path of a rendered page kept beside the Markdown."""
    return f"markdown/{markdown}_assets/page-{page:05d}.jpg"


def document_markdown(markdown: str, pages: Iterable[PageText]) -> str:
    """The whole document. Pages after the first get a ``----- Page N -----`` heading.

    A failed page keeps its place with a note, a document that could not be opened is one note, and
    pages that were asked for past the document's end are left out.
    """
    return BETWEEN_PAGES.join(markdown_parts(markdown, sorted(pages, key=lambda page: page.page))) + "\n"


def markdown_parts(markdown: str, pages: Iterable[PageText]) -> Iterator[str]:
    """What each page, in order, adds to its document; nothing stands at the end of a part."""
    for page in pages:
        body = _page_body(page)
        if body is None:
            continue
        if page.has_image:
            stem = PurePosixPath(markdown).name
            body = f"![Page {page.page}]({quote(f'{stem}_assets/page-{page.page:05d}.jpg')})\n\n{body}"
        if page.page >= 2:
            body = f"----- Page {page.page} -----\n\n{body}"
        yield body.rstrip()


def markdown_variant(variants: Sequence[str]) -> str:
    """The variant of a page's rows that its document's Markdown shows."""
    return "" if "" in variants else variants[0]


def _page_body(page: PageText) -> str | None:
    if page.status == Status.SKIPPED:
        return None
    if page.status == Status.FAILED:
        what = f"Page {page.page}" if page.page else "Document"
        return f"[[{what} could not be read: {' '.join(page.reason.split())}]]"
    return page.text.strip()
