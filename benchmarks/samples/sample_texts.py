"""The texts of the sample corpus that were written by hand."""

from __future__ import annotations

from benchmarks.samples.blocks import Block, Kind


def _blocks(heading: str, *paragraphs: str) -> tuple[Block, ...]:
    return (Block(Kind.HEADING, heading), *(Block(Kind.PARAGRAPH, text) for text in paragraphs))


LETTER = _blocks(
    "Whitmoor Harbour Library",
    "14 Quay Street, 3 October 1962",
    "Dear Miss Aldous,",
    "Thank you for your letter of the 21st and for the parcel of photographs that came with it. They"
    " arrived dry, in spite of the weather, and we opened them the same afternoon in the reading room.",
    "You ask whether the lighthouse in the third picture is ours. We believe that it is not. Our own tower"
    " has eleven windows on the side that faces the sea, and the one in your picture has only nine. The"
    " railing is also too low. Mr Penrose, who kept the lamp for thirty years, thinks that it must be the"
    " old light at Carrow Point, which was taken down in 1931 after the second of the great storms.",
    "The boats in the fifth picture are easier to name. The one on the left is the Margaret, built here in"
    " 1904 for the Tollan brothers. She carried slate until the railway came, and then potatoes, and for"
    " one summer a travelling circus.",
    "With kind regards,",
    "Edith Marlowe, Librarian",
)

MINUTES = (
    *_blocks(
        "Minutes of the Harbour Committee",
        "Tuesday 9 March 1926",
        "Present: Mr Tollan in the chair, Mrs Hale, Captain Ross, Mr Penrose, and the clerk.",
    ),
    Block(Kind.LIST_ITEM, "1. The minutes of the last meeting were read and signed."),
    Block(
        Kind.LIST_ITEM,
        "2. The clerk reported that the north wall had lost forty stones in the January gale. The mason asked"
        " for 60 pounds to set them again. The committee agreed to pay 55 pounds, and to lend him the crane.",
    ),
    Block(
        Kind.LIST_ITEM,
        "3. Captain Ross complained that nets were being dried on the mooring posts. A notice will be"
        " painted.",
    ),
    Block(Kind.PARAGRAPH, "The meeting closed at nine o’clock. The next will be held on Tuesday 13 April."),
)

CARDS = (
    _blocks(
        "Card 118",
        "Margaret, ketch, 62 tons. Built at Whitmoor in 1904. Owners: J. and A. Tollan.",
        "Carried slate to the city until 1912, and potatoes after that. Sold north in 1929.",
    ),
    _blocks(
        "Card 119",
        "Morning Star, lugger, 18 tons. Built at Carrow in 1897. Owner: Widow Hale.",
        "Lost her mast off the point in the gale of January 1926 and was towed in by the lifeboat.",
    ),
)

LABEL = _blocks(
    "Box 7, shelf C",
    "Twelve photographs lent by Miss R. Aldous, October 1962.",
    "To be copied and sent back by registered post. Please do not write on the backs, and wear the cotton"
    " gloves that hang beside the door.",
)
