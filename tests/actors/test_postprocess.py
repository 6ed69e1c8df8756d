"""From answers to rows' texts and regions, dialect by dialect."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.postprocess.dialects import DIALECTS, parse
from actors.postprocess.grounded import MALFORMED_FLAG
from actors.postprocess.parsed import Parsed
from actors.retry import Problem
from results.rows import Region

PAGE = """<|ref|>title<|/ref|><|det|>[[330, 198, 558, 230]]<|/det|>
# The harbour

<|ref|>image<|/ref|><|det|>[[0, 0, 1000, 1200]]<|/det|>

<|ref|>text<|/ref|><|det|>[[1, 2, 3, 4], [9, 8, 7, 6]]<|/det|>
It has 42 ships.
"""
CUT = {
    "<|ref|>text<|/ref|><|det|>[[1, 2, 3, 4]]<|/det|>whole\n<|ref|>text<|/ref|><|det|>[[5, 6": "whole",
    "<|ref|>text<|/ref|><|det|>[[1, 2, 3, 4]]<|/det|>whole\n<|ref|>tab": "whole",
    "<|ref|>text<|/ref|><|det|>[[1, 2, 3, 4], [5, 6": "",
    "<|ref|>text<|/ref|><|det|>[[1, 2, 3, 4]]\nthe end is missing, 7": "the end is missing, 7",
    "<|ref|>text<|/ref|><|det|>not a box<|/det|>text": "not a boxtext",
    "<|ref|>text<|/ref|><|det|>[[1, 2, 3]]<|/det|>text": "text",
    "<|ref|>text<|/ref|><|det|>[[__import__('os').abort()]]<|/det|>text": "__import__('os').abort()]]text",
    "<|ref|>a word<|ref|>text<|/ref|><|det|>[[1, 2, 3, 4]]<|/det|>more": "a word\n\nmore",
    "<|det|>[[1, 2, 3, 4]]<|/det|>no label<|/ref|>": "no label",
    "before <|ref|>text<|/ref|>no boxes": "before\n\nno boxes",
    "<|ref|>gone with the<|/ref|> wind": "gone with the wind",
}


def test_a_plain_answer_is_the_text():
    assert parse("plain", PAGE) == parse("", PAGE) == Parsed(PAGE)


def test_a_grounded_page_becomes_clean_text_and_regions():
    assert parse("grounded", PAGE) == Parsed(
        "# The harbour\n\nIt has 42 ships.",
        (
            Region("title", (330, 198, 558, 230), "# The harbour"),
            Region("image", (0, 0, 999, 999)),
            Region("text", (1, 2, 3, 4), "It has 42 ships."),
            Region("text", (7, 6, 9, 8)),
        ),
    )


def test_words_that_are_pointed_at_are_the_text():
    answer = (
        "<|ref|>Stores<|/ref|><|det|>[[1,2,3,4]]<|/det|>\n<|ref|>in\nGreek<|/ref|><|det|>[[5,6,7,8]]<|/det|>"
    )
    regions = (Region("Stores", (1, 2, 3, 4), "Stores"), Region("in Greek", (5, 6, 7, 8), "in Greek"))
    assert parse("grounded", answer) == Parsed("Stores\nin Greek", regions)


@pytest.mark.parametrize(("answer", "text"), CUT.items())
def test_no_text_is_lost_in_blocks_that_are_cut_or_malformed(answer: str, text: str):
    assert parse("grounded", answer).text == text


@pytest.mark.parametrize("boxes", ["[[1, 2", "[[1, 2, 3]]", "[[a, b, c, d]]", "[[1e9, 2, 3, 4]]", ""])
def test_boxes_that_are_none_are_told(boxes: str):
    parsed = parse("grounded", f"<|ref|>text<|/ref|><|det|>{boxes}<|/det|>")
    assert (parsed.regions, parsed.flags, parsed.problem) == ((), (MALFORMED_FLAG,), Problem.UNPARSEABLE)


@pytest.mark.parametrize(
    ("numbers", "box"),
    [
        ("-5, 3.6, 2000, 999.4", (0, 4, 999, 999)),
        ("30,40,10,20", (10, 20, 30, 40)),
        (" 1 ,2,\n3,4 ", (1, 2, 3, 4)),
    ],
)
def test_boxes_are_put_in_order_and_kept_on_the_page(numbers: str, box: tuple[int, ...]):
    (region,) = parse("grounded", f"<|ref|>text<|/ref|><|det|>[[{numbers}]]<|/det|>").regions
    assert region.box == box


def test_an_answer_without_a_mark_lacks_its_labels():
    assert parse("grounded", "just text") == Parsed("just text", problem=Problem.MISSING_LABEL)
    assert parse("grounded", " ") == Parsed(" ")


PIECES = st.sampled_from(
    [
        "<|ref|>",
        "<|/ref|>",
        "<|det|>",
        "<|/det|>",
        "[[1,2,3,4]]",
        "[",
        "]",
        "text",
        "title",
        "word 7",
        "\n",
        ",",
    ]
)


@given(st.lists(PIECES, max_size=25))
def test_whatever_the_model_writes_no_word_is_lost(pieces: list[str]):
    parsed = parse("grounded", "".join(pieces))
    found = parsed.text + "".join(region.label for region in parsed.regions)
    assert found.count("word") >= pieces.count("word 7")
    assert not re.search(r"<\|/?(ref|det)\|>", parsed.text)
    assert all(0 <= edge <= 999 for region in parsed.regions for edge in region.box)


@given(st.sampled_from(sorted(DIALECTS)), st.text(max_size=200))
def test_no_dialect_ever_raises(dialect: str, answer: str):
    assert isinstance(parse(dialect, answer), Parsed)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("# As it is\n", "# As it is\n"),
        ("```markdown\n# Title\n\nText\n```", "# Title\n\nText"),
        ("\n```md\nText\n```\n", "Text"),
        ("````Markdown\n```js\nx\n```\n````", "```js\nx\n```"),
        ("```markdown\nText\n```js\nx\n```\nmore\n```", "Text\n```js\nx\n```\nmore"),
        ("```markdown\nthe answer was cut", "the answer was cut"),
        ("```markdown\nA\n```\nand B", "```markdown\nA\n```\nand B"),
        ("```python\nprint()\n```", "```python\nprint()\n```"),
        ("```\na page of code\n```", "```\na page of code\n```"),
        ("```markdown", ""),
    ],
)
def test_a_fence_around_the_whole_is_taken_off(answer: str, text: str):
    assert parse("markdown", answer) == Parsed(text)


def test_a_long_answer_takes_no_time():
    marks = "<|ref|>text<|/ref|><|det|>[[1,2,3,4]]<|/det|>x\n" * 20_000
    assert len(parse("grounded", marks).regions) == 20_000
    assert parse("grounded", "<|det|>" + "[" * 300_000).problem is Problem.UNPARSEABLE
    assert parse("markdown", "```markdown\n" + "\n" * 300_000 + "x").text.endswith("\nx")
