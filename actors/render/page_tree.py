"""A PDF's page tree as its kids say, not as its counts do; what it promises and lacks is told.

MuPDF believes ``/Count``: one that is too small hides pages without a word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from actors.render.mupdf import mupdf
from manifests.errors import DocumentError

MAX_PAGES = 1_000_000
MAX_ABSENT = 1_000
"""So many pages that a tree counts but does not hold fail one by one; more are told in one row."""
INHERITED = ("Resources", "MediaBox", "CropBox", "Rotate")
"""ISO 32000-1, table 30."""

Pointer = Any
"""A ``pdf_obj *`` lent by the document, as MuPDF's low-level functions take it; None is null."""
Inherited = Mapping[str, Pointer]


@dataclass(frozen=True, slots=True)
class PageTree:
    """``missing`` are the pages that are named but not there, with the reason. ``mended``: the document's
    tree was wrong and is replaced by a flat one, in memory; ``kept`` holds what that made."""

    page_count: int
    missing: Mapping[int, str]
    mended: bool = False
    kept: tuple[Any, ...] = ()


def read_page_tree(document: Any) -> PageTree:
    """Follow all kids of a document's tree (a ``PdfDocument``), and put its tree right where it lies.

    Raises DocumentError where there is no page, or more than ``MAX_PAGES``.
    """
    root = mupdf.ll_pdf_dict_gets(mupdf.ll_pdf_trailer(document.m_internal), "Root")
    top = mupdf.ll_pdf_dict_gets(root, "Pages")
    counted = mupdf.ll_pdf_dict_gets(top, "Count")
    count = mupdf.ll_pdf_to_int(counted)
    leaves, ends_well = _leaves(top)
    if not any(leaf for leaf, _ in leaves):
        leaves, ends_well = [(stray, {}) for stray in _strays(document)], False
    if not leaves:
        raise DocumentError("the PDF has no pages")
    missing = {
        index: f"page {index} is named in the document's page tree, but it is not there"
        for index, (leaf, _) in enumerate(leaves, 1)
        if not leaf
    }
    if ends_well and not missing and count == len(leaves):
        return PageTree(count, {})
    absent = max(0, count - len(leaves))
    held = len(leaves)
    reason = f"the document says that it has {count} pages, but its page tree holds {held}"
    page_count = held + (absent if absent <= MAX_ABSENT else 1)
    missing.update(dict.fromkeys(range(held + 1, page_count + 1), reason))
    return PageTree(page_count, missing, True, tuple(_flatten(document, leaves)))


def _leaves(top: Pointer) -> tuple[list[tuple[Pointer, Inherited]], bool]:
    """Every page in order, None for one that is named but not there; and whether no node holds itself."""
    found: list[tuple[Pointer, Inherited]] = []
    ends_well = True
    above: set[int] = set()
    stack: list[Iterator[tuple[Pointer, Inherited]]] = [iter([(top, dict[str, Pointer]())])]
    numbers = [0]
    while stack:
        node, inherited = next(stack[-1], (stack, {}))
        if node is stack:
            stack.pop()
            above.discard(numbers.pop())
            continue
        kids = mupdf.ll_pdf_dict_gets(node, "Kids")
        if kids is None or _is_page(node, len(stack)):
            if len(stack) > 1:
                found.append((node if mupdf.ll_pdf_is_dict(node) else None, inherited))
            if len(found) > MAX_PAGES:
                raise DocumentError(f"the PDF's page tree names more than {MAX_PAGES:,} pages")
            continue
        number = mupdf.ll_pdf_to_num(node)
        if number in above or len(stack) > MAX_PAGES:
            ends_well = False
            continue
        above.add(number)
        numbers.append(number)
        stack.append(_kids(kids, _handed_down(node, inherited)))
    return found, ends_well


def _is_page(node: Pointer, depth: int) -> bool:
    """Whether a node with kids calls itself a page all the same; the top never is one."""
    return depth > 1 and mupdf.ll_pdf_to_name(mupdf.ll_pdf_dict_gets(node, "Type")) == "Page"


def _kids(kids: Pointer, inherited: Inherited) -> Iterator[tuple[Pointer, Inherited]]:
    for index in range(mupdf.ll_pdf_array_len(kids)):
        yield mupdf.ll_pdf_array_get(kids, index), inherited


def _handed_down(node: Pointer, inherited: Inherited) -> Inherited:
    own = {key: value for key in INHERITED if (value := mupdf.ll_pdf_dict_gets(node, key)) is not None}
    return {**inherited, **own} if own else inherited


def _strays(document: Any) -> Iterator[Pointer]:
    """Pages that no tree holds, in the order of their numbers: what is left of a broken file."""
    for number in range(1, min(mupdf.ll_pdf_xref_len(document.m_internal), MAX_PAGES)):
        reference = mupdf.pdf_new_indirect(document, number, 0)
        found = mupdf.pdf_dict_gets(reference, "Type")
        if mupdf.pdf_to_name(found) == "Page" and mupdf.pdf_to_num(reference):
            yield mupdf.ll_pdf_keep_obj(reference.m_internal)


def _flatten(document: Any, leaves: list[tuple[Pointer, Inherited]]) -> Iterator[Any]:
    """Hang all pages under one new node, with what they inherit; yields what must be kept alive."""
    parent = mupdf.pdf_add_new_dict(document, 4)
    kids = mupdf.pdf_new_array(document, len(leaves))
    empty = None
    for leaf, inherited in leaves:
        if leaf is None:
            empty = empty or _empty_page(document, parent)
            mupdf.pdf_array_push(kids, empty)
            continue
        page = mupdf.PdfObj(mupdf.ll_pdf_keep_obj(leaf))
        mupdf.pdf_array_push(kids, page)
        for key, value in inherited.items():
            if mupdf.ll_pdf_dict_gets(leaf, key) is None:
                mupdf.ll_pdf_dict_puts(leaf, key, value)
        mupdf.pdf_dict_puts(page, "Parent", parent)
        mupdf.pdf_dict_puts(page, "Type", mupdf.pdf_new_name("Page"))
        yield page
    mupdf.pdf_dict_puts(parent, "Type", mupdf.pdf_new_name("Pages"))
    mupdf.pdf_dict_puts(parent, "Kids", kids)
    mupdf.pdf_dict_puts(parent, "Count", mupdf.pdf_new_int(len(leaves)))
    root = mupdf.pdf_dict_gets(mupdf.pdf_trailer(document), "Root")
    mupdf.pdf_dict_puts(root, "Pages", parent)
    mupdf.ll_pdf_drop_page_tree(document.m_internal)
    yield from (parent, kids, root)


def _empty_page(document: Any, parent: Any) -> Any:
    """Stands where a page is named that is not there, so that those after it keep their numbers."""
    page = mupdf.pdf_add_new_dict(document, 3)
    mupdf.pdf_dict_puts(page, "Type", mupdf.pdf_new_name("Page"))
    mupdf.pdf_dict_puts(page, "Parent", parent)
    mupdf.pdf_dict_put_rect(page, mupdf.pdf_new_name("MediaBox"), mupdf.FzRect(0, 0, 612, 792))
    return page
