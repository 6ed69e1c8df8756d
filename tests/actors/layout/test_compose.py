"""Reading order, headings, paragraphs, lists and tables, from lines with boxes alone."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from actors.layout.compose import compose
from actors.layout.lines import ComposedPage, Rules, TextLine
from actors.layout.paragraphs import join_lines

WIDTH, HEIGHT = 600.0, 800.0
EM, LEADING = 10.0, 14.0


def line(text: str, x1: float, y: float, x2: float, size: float = EM) -> TextLine:
    return TextLine(text, (x1, y, x2, y + size))


def column(name: str, x: float, y: float, width: float, count: int) -> list[TextLine]:
    """Lines that fill the width, numbered, all of one paragraph."""
    words = " lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod"
    return [
        line(f"{name}{number}{words[: int(width / 6)]}", x, y + LEADING * number, x + width)
        for number in range(count)
    ]


def composed(lines: Sequence[TextLine], rules: Rules | None = None, seed: int = 1) -> ComposedPage:
    """Composed from the lines in any order: an engine's own order must not matter."""
    shuffled = list(lines)
    random.Random(seed).shuffle(shuffled)
    return compose(shuffled, WIDTH, HEIGHT, rules or Rules())


def order(page: ComposedPage, *names: str) -> list[str]:
    """The numbered lines in the order in which the text names them."""
    words = page.text.replace("\n", " ").split()
    return [word for word in words if word.rstrip("0123456789") in names and word[-1].isdigit()]


def numbered(name: str, count: int) -> list[str]:
    return [f"{name}{number}" for number in range(count)]


@pytest.mark.parametrize("offset", [0.0, 3.0, 7.0])
def test_two_columns_are_read_one_after_the_other(offset):
    lines = column("L", 50, 80, 240, 12) + column("R", 310, 80 + offset, 240, 9)
    assert order(composed(lines), "L", "R") == numbered("L", 12) + numbered("R", 9)


def test_unequal_columns():
    lines = column("L", 50, 80, 120, 20) + column("R", 190, 80, 360, 20)
    assert order(composed(lines), "L", "R") == numbered("L", 20) + numbered("R", 20)


def test_a_heading_over_both_columns_comes_first():
    lines = [line("A Heading Over Both", 150, 40, 450, 20), *column("L", 50, 80, 240, 8)]
    page = composed(lines + column("R", 310, 80, 240, 8))
    assert page.text.startswith("# A Heading Over Both\n\n")
    assert order(page, "L", "R") == numbered("L", 8) + numbered("R", 8)
    assert [region.label for region in page.regions] == ["heading", "text", "text"]


def test_three_columns_with_a_figure_in_one():
    middle = column("M", 225, 80, 160, 5) + [
        line(part.text.replace("N", "M1"), part.box[0], part.box[1], part.box[2])
        for part in column("N", 225, 290, 160, 5)
    ]
    lines = column("L", 50, 80, 160, 20) + middle + column("R", 400, 80, 160, 20)
    expected = numbered("L", 20) + numbered("M", 5) + numbered("M1", 5) + numbered("R", 20)
    assert order(composed(lines), "L", "M", "R") == expected


def test_full_width_text_between_columns_parts_them():
    lines = column("A", 50, 80, 240, 6) + column("B", 310, 80, 240, 6)
    lines += column("F", 50, 190, 500, 4) + column("C", 50, 270, 240, 6) + column("D", 310, 270, 240, 6)
    expected = [
        name
        for letter, count in (("A", 6), ("B", 6), ("F", 4), ("C", 6), ("D", 6))
        for name in numbered(letter, count)
    ]
    assert order(composed(lines), "A", "B", "F", "C", "D") == expected


def test_a_heading_above_all_columns_begins_anew_although_it_stands_in_the_first():
    lines = column("A", 50, 80, 240, 6) + column("B", 310, 80, 240, 6)
    lines += [
        line("Next Article", 50, 190, 180, 14),
        *column("C", 50, 230, 240, 6),
        *column("D", 310, 230, 240, 6),
    ]
    page = composed(lines)
    assert page.text.index("B5") < page.text.index("Next Article") < page.text.index("C0")
    assert order(page, "C", "D") == numbered("C", 6) + numbered("D", 6)


def test_a_heading_inside_one_column_does_not_cut_the_other():
    right = [line("A Heading", 310, 122, 400, 14), *column("D", 310, 150, 240, 6)]
    lines = column("L", 50, 80, 240, 14) + column("C", 310, 80, 240, 2) + right
    assert order(composed(lines), "L", "C", "D") == numbered("L", 14) + numbered("C", 2) + numbered("D", 6)


def test_a_heading_begins_anew_also_where_boxes_are_taller_than_their_letters_are_large():
    lines = [replace(part, size=7.5) for x in (50, 310) for part in column("AB"[x > 50], x, 80, 240, 6)]
    lines.append(replace(line("Next Article", 50, 190, 180, 14), size=10.5))
    lines += [replace(part, size=7.5) for x in (50, 310) for part in column("CD"[x > 50], x, 230, 240, 6)]
    page = composed(lines)
    assert page.text.index("B5") < page.text.index("Next Article") < page.text.index("C0")


def test_the_parts_of_a_running_head_and_foot_are_not_read_with_the_columns():
    lines = column("L", 50, 80, 240, 12) + column("R", 310, 80, 240, 12)
    head = [line("Harbour Chronicle", 50, 40, 140), line("Chapter 3", 500, 40, 550)]
    foot = [line("4 March 1926", 50, 270, 120), line("Page 12", 510, 270, 550)]
    page = composed(lines + head + foot)
    assert page.text.startswith("Harbour Chronicle Chapter 3\n\nL0")
    assert page.text.endswith("\n\n4 March 1926 Page 12")
    assert order(page, "L", "R") == numbered("L", 12) + numbered("R", 12)


def test_headings_of_plain_size_stay_with_the_columns_they_stand_above():
    lines = [line("1 Introduction", 50, 50, 130), line("3 Results", 310, 50, 370)]
    page = composed([*lines, *column("L", 50, 80, 240, 12), *column("R", 310, 80, 240, 12)])
    assert page.text.index("1 Intro") < page.text.index("L11") < page.text.index("3 Results")


def test_a_book_lying_open_has_a_running_head_on_either_page():
    lines = column("L", 30, 80, 220, 12) + column("R", 350, 80, 220, 12)
    lines += [line("8", 30, 40, 36), line("The Storm", 300, 40, 360), line("9", 560, 40, 566)]
    text = composed(lines).text
    assert text.index("8") < text.index("L11") < text.index("The Storm") < text.index("R0")


def test_a_heading_over_two_of_three_columns_is_not_mixed_with_the_third():
    lines = [line("Storm Destroys Outer", 50, 40, 300, 20), line("Harbour Wall Again", 50, 64, 280, 20)]
    lines += column("L", 50, 100, 160, 20) + column("M", 225, 100, 160, 20) + column("R", 400, 40, 160, 24)
    page = composed(lines)
    assert page.text.startswith("# Storm Destroys Outer Harbour Wall Again\n\nL0")
    assert order(page, "L", "M", "R") == numbered("L", 20) + numbered("M", 20) + numbered("R", 24)


def test_a_heading_in_the_middle_above_four_columns_comes_first():
    lines = [line("The Gazette", 200, 40, 400, 24)]
    for place, name in enumerate("ABCD"):
        lines += column(name, 30 + 140 * place, 90, 120, 20)
    page = composed(lines)
    assert page.text.startswith("# The Gazette\n\nA0")
    assert order(page, *"ABCD") == [word for name in "ABCD" for word in numbered(name, 20)]


def test_a_salutation_below_two_blocks_of_lines_is_read_after_both():
    left = ("Mrs Edith Hale", "The Old Bakery", "7 Tollan Lane", "Carrow")
    right = ("Harbour Office", "Telephone 214", "Our reference H 17", "3 October 1926")
    lines = [
        line(text, x, 80 + LEADING * place, x + 5 * len(text))
        for x, texts in ((50, left), (400, right))
        for place, text in enumerate(texts)
    ]
    lines += [line("Dear Mrs Hale,", 50, 160, 120), *column("P", 50, 190, 500, 4)]
    expected = "\n\n".join(["\n".join(left), "\n".join(right), "Dear Mrs Hale,", "P0"])
    assert composed(lines).text.startswith(expected)


def test_a_label_in_the_margin_is_read_with_the_paragraph_it_stands_beside():
    lines, y = [], 80.0
    for place, rows in enumerate((4, 5, 3)):
        lines += [line(f"Label {place}", 50, y, 120), *column("XYZ"[place], 200, y, 350, rows)]
        y += LEADING * rows + 8
    words = [word for word in composed(lines).text.split() if word[:1] in "LXYZ" and word != "Z"]
    assert words == ["Label", *numbered("X", 4), "Label", *numbered("Y", 5), "Label", *numbered("Z", 3)]


def test_numbers_and_bullets_before_the_lines_of_a_list_make_no_table():
    items = [
        ("1.", 50, "nets and ropes"),
        ("2.", 50, "tar"),
        ("a)", 75, "of the best kind"),
        ("3.", 50, "oil"),
    ]
    lines = [
        part
        for place, (mark, x, text) in enumerate(items)
        for part in (
            line(mark, x, 80 + LEADING * place, x + 9),
            line(text, x + 25, 80 + LEADING * place, x + 25 + 5 * len(text)),
        )
    ]
    assert composed(lines).text == "1. nets and ropes\n2. tar\na) of the best kind\n3. oil"


def test_an_index_is_read_down_its_columns():
    entries = ["anchor", "bakery", "ballast", "boats", "coal", "crane", "drains", "ferry", "gulls", "herring"]
    entries += ["market", "nets", "pier", "quay", "tar"]
    lines = [
        line(f"{word}, {12 + place}", x, 80 + LEADING * row, x + 5 * len(word) + 20)
        for place, word in enumerate(entries)
        for x, row in ((60 + 170 * (place // 5), place % 5),)
    ]
    page = composed(lines)
    assert [word.rstrip(",") for word in page.text.split() if word[0].isalpha()] == entries


def test_arabic_columns_are_read_from_the_right():
    words = "السفينة تغادر الميناء"
    lines = [
        line(f"{words} {name}{n}", x, 80 + LEADING * n, x + 240)
        for name, x in (("L", 50), ("R", 310))
        for n in range(6)
    ]
    page = composed(lines)
    assert order(page, "L", "R") == numbered("R", 6) + numbered("L", 6)
    assert page.regions[0].box[0] > page.regions[-1].box[0]


def test_paragraphs_end_at_short_lines_gaps_and_indents():
    short = [line("one two three four five six", 50, 80, 200), line("seven.", 50, 94, 80)]
    after = [
        line("Eight nine ten eleven twelve", 50, 108, 200),
        line("thirteen fourteen fifteen.", 50, 122, 200),
    ]
    gap = [line("Sixteen seventeen eighteen.", 50, 150, 200)]
    indented = [
        line("Nineteen twenty, and so on.", 65, 164, 200),
        line("until the end of the page", 50, 178, 200),
    ]
    assert composed(short + after + gap + indented).text.split("\n\n") == [
        "one two three four five six seven.",
        "Eight nine ten eleven twelve thirteen fourteen fifteen.",
        "Sixteen seventeen eighteen.",
        "Nineteen twenty, and so on. until the end of the page",
    ]


def test_an_address_keeps_its_lines():
    lines = [line("Whitmoor Harbour Library", 50, 80, 200), line("14 Quay Street", 50, 94, 140)]
    lines += [line("Whitmoor", 50, 108, 100), *column("P", 50, 150, 500, 4)]
    assert composed(lines).text.startswith("Whitmoor Harbour Library\n14 Quay Street\nWhitmoor\n\nP0")


def test_list_items_keep_their_markers_and_join_their_lines():
    lines = [*column("P", 50, 80, 300, 2), line("• nets and ropes for the boats that", 60, 122, 340)]
    lines += [line("came last year", 72, 136, 160), line("• tar", 60, 150, 100), line("2. oil", 60, 178, 100)]
    page = composed(lines)
    assert page.text.endswith("\n\n- nets and ropes for the boats that came last year\n- tar\n2. oil")
    assert [region.label for region in page.regions] == ["text", "list_item", "list_item", "list_item"]


def test_a_lone_page_number_is_kept_and_labelled():
    page = composed([line("- 17 -", 280, 760, 320)])
    assert (page.text, page.regions[0].label) == ("- 17 -", "page_number")


def test_verse_and_contents_keep_their_lines():
    poem = [
        "The lamp is lit upon the hill,",
        "The boats come home,",
        "And every window holds a light",
        "Against the night.",
    ]
    lines = [
        line(text, 50 + 10 * (place % 2), 80 + LEADING * place, 60 + 5 * len(text))
        for place, text in enumerate(poem)
    ]
    assert composed(lines).text == "\n".join(poem)
    contents = [("Introduction", "1"), ("The harbour", "14"), ("Boats and owners", "37")]
    lines = [
        line(f"{title} {page}", 50, 80 + LEADING * place, 550) for place, (title, page) in enumerate(contents)
    ]
    assert composed(lines).text == "Introduction 1\nThe harbour 14\nBoats and owners 37"


def test_names_beside_what_they_stand_for_are_a_table():
    fields = [
        ("Name:", "Edith Marlowe", "Date:", "3 October"),
        ("Boat:", "Margaret", "Length:", "42 feet"),
        ("Home:", "Whitmoor", "Mast:", "two"),
    ]
    lines = [
        line(text, x, 80 + 18 * row, x + 5 * len(text))
        for row, texts in enumerate(fields)
        for x, text in zip((50, 120, 300, 380), texts, strict=True)
    ]
    assert (
        composed([*lines, *column("P", 50, 180, 500, 4)]).text.splitlines()[0]
        == "| Name: | Edith Marlowe | Date: | 3 October |"
    )


def test_widely_spaced_fields_of_a_form_are_a_table():
    fields = [("Name:", "Edith Hale"), ("Boat:", "Morning Star"), ("Length:", "42"), ("Home:", "Whitmoor")]
    lines = [
        line(text, x, 80 + 24 * row, x + 5 * len(text))
        for row, texts in enumerate(fields)
        for x, text in zip((50, 180), texts, strict=True)
    ]
    page = composed([*lines, *column("P", 50, 190, 500, 4)])
    assert page.text.splitlines()[0] == "| Name: | Edith Hale |"
    assert page.text.splitlines()[4] == "| Home: | Whitmoor |"


def test_an_address_beside_named_fields_is_no_part_of_their_table():
    rows = [
        ("Tollan & Sons", "Invoice:", "2026-0417"),
        ("12 Harbour Road", "Date:", "12 March 2026"),
        ("Whitmoor", "Due:", "11 April 2026"),
    ]
    lines = [
        line(text, x, 80 + LEADING * row, x + 5 * len(text))
        for row, texts in enumerate(rows)
        for x, text in zip((50, 300, 400), texts, strict=True)
    ]
    assert composed([*lines, *column("P", 50, 180, 500, 4)]).text.startswith(
        "Tollan & Sons\n12 Harbour Road\nWhitmoor\n\n| Invoice: | 2026-0417 |\n"
    )


def test_cells_of_several_lines_without_rules_are_joined_where_rows_stand_apart():
    rows = [
        (0, "Place", "Condition", "Advice"),
        (20, "Carrow", "the old light was", "build a new one"),
        (14, "", "taken down", "before winter"),
        (20, "Hale", "nothing to", "keep the crane"),
        (14, "", "be seen", "in order"),
    ]
    lines, y = [], 80.0
    for step, *texts in rows:
        y += step
        lines += [line(t, x, y, x + 5 * len(t)) for x, t in zip((50, 150, 350), texts, strict=True) if t]
    assert composed(lines).text.splitlines()[2:] == [
        "| Carrow | the old light was taken down | build a new one before winter |",
        "| Hale | nothing to be seen | keep the crane in order |",
    ]


def test_two_columns_of_bulleted_lines_make_no_table():
    lines = []
    for x, name in ((50, "A"), (310, "B")):
        for place in range(6):
            lines += [
                line("•", x, 80 + 18 * place, x + 5),
                line(f"{name}{place}", x + 15, 80 + 18 * place, x + 200),
            ]
    assert composed(lines).text.split("\n") == [f"- {name}{place}" for name in "AB" for place in range(6)]


TABLE = (
    ("Name", "Tons", "Year", "Owner"),
    ("Margaret", "62", "1904", "Tollan"),
    ("Morning Star", "18", "1897", "Widow Hale"),
    ("Gull", "7", "1911", "Ross"),
    ("Petrel", "112", "1920", "Aldous | Sons"),
)
MARKDOWN = """| Name | Tons | Year | Owner |
| --- | --- | --- | --- |
| Margaret | 62 | 1904 | Tollan |
| Morning Star | 18 | 1897 | Widow Hale |
| Gull | 7 | 1911 | Ross |
| Petrel | 112 | 1920 | Aldous \\| Sons |"""


def cells(y: float, x: float = 60, step: float = 120) -> list[TextLine]:
    return [
        line(text, x + step * place, y + LEADING * row, x + step * place + 5 * len(text))
        for row, texts in enumerate(TABLE)
        for place, text in enumerate(texts)
    ]


def test_cells_under_one_another_are_a_table_between_its_paragraphs():
    page = composed(column("A", 50, 80, 500, 4) + cells(180) + column("B", 50, 290, 500, 4))
    assert f"\n\n{MARKDOWN}\n\n" in page.text
    assert order(page, "A", "B") == numbered("A", 4) + numbered("B", 4)
    assert [region.label for region in page.regions] == ["text", "table", "text"]


def test_a_ruled_grid_is_a_table_even_when_its_cells_have_several_lines():
    rules = Rules(
        tuple((y, 50.0, 350.0) for y in (90.0, 112.0, 154.0, 196.0)),
        tuple((x, 90.0, 196.0) for x in (50.0, 150.0, 350.0)),
    )
    lines = [line("Place", 60, 95, 90), line("What happened", 160, 95, 230)]
    lines += [
        line("Carrow", 60, 118, 90),
        line("the old light was taken", 160, 118, 330),
        line("down in 1931", 160, 132, 260),
    ]
    lines += [
        line("Whitmoor", 60, 160, 110),
        line("a new crane was bought", 160, 160, 330),
        line("for the quay", 160, 174, 240),
    ]
    page = composed([*lines, *column("P", 50, 220, 500, 4)], rules)
    assert page.text.split("\n\n")[0].splitlines() == [
        "| Place | What happened |",
        "| --- | --- |",
        "| Carrow | the old light was taken down in 1931 |",
        "| Whitmoor | a new crane was bought for the quay |",
    ]


def test_rules_around_and_between_columns_of_text_make_no_table():
    rules = Rules(
        ((70.0, 40.0, 560.0), (400.0, 40.0, 560.0)), tuple((x, 70.0, 400.0) for x in (40.0, 300.0, 560.0))
    )
    lines = column("L", 50, 80, 240, 20) + column("R", 310, 80, 240, 20)
    page = composed(lines, rules)
    assert order(page, "L", "R") == numbered("L", 20) + numbered("R", 20)
    assert "|" not in page.text


@pytest.mark.parametrize(
    ("lines", "joined"),
    [
        (["the old exam-", "ple of it"], "the old example of it"),
        (["the Anglo-", "Saxon ship"], "the Anglo-Saxon ship"),
        (["pages 12-", "15 of it"], "pages 12- 15 of it"),
        (["soft\u00ad", "ware"], "software"),
        (["an end—", "or not"], "an end—or not"),
        (["日本", "語"], "日本語"),
        (["one", "two"], "one two"),
    ],
)
def test_lines_are_joined_as_their_ends_ask(lines, joined):
    assert join_lines(lines) == joined


@pytest.mark.parametrize("lines", [[], [line("  ", 10, 10, 40)]])
def test_nothing_composes_to_nothing(lines):
    assert compose(lines, WIDTH, HEIGHT) == ComposedPage("", ())


def test_no_line_is_lost_or_doubled_whatever_the_layout():
    for seed in range(40):
        rng = random.Random(seed)
        lines = []
        for number in range(rng.randint(1, 80)):
            x, y = rng.uniform(0, 500), rng.uniform(0, 780)
            lines.append(line(f"w{number}q", x, y, x + rng.uniform(5, 300), rng.choice((8, 10, 20))))
        text = compose(lines, WIDTH, HEIGHT).text
        for number in range(len(lines)):
            assert text.count(f"w{number}q") == 1, (seed, number)


def test_rules_lose_no_line_either():
    for seed in range(60):
        rng = random.Random(seed)
        grid = [round(rng.uniform(0, 700)) for _ in range(rng.randint(2, 7))]
        across = tuple((float(y), 0.0, 600.0) for y in grid)
        down = tuple((float(x), 0.0, 800.0) for x in rng.sample(range(600), rng.randint(2, 5)))
        lines = [
            line(f"w{number}q", x, y - EM / 2, x + 40)  # some of them just on a rule
            for number, (x, y) in enumerate((rng.uniform(0, 550), float(rng.choice(grid))) for _ in range(20))
        ]
        text = compose(lines, WIDTH, HEIGHT, Rules(across, down)).text
        assert all(text.count(f"w{number}q") == 1 for number in range(20)), seed


def test_boxes_outside_the_page_are_kept_on_the_scale():
    page = compose([line("beyond", -20, -5, 700)], WIDTH, HEIGHT)
    assert page.regions[0].box == (0, 0, 999, 6)


def test_ten_thousand_fragments_take_no_minutes():
    lines = [line(f"f{n}", (n % 100) * 6.0, (n // 100) * 8.0, (n % 100) * 6.0 + 5, 6) for n in range(10_000)]
    assert len(compose(lines, WIDTH, HEIGHT).text.split()) >= 10_000
