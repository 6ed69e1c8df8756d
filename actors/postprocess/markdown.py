"""Models that write Markdown: some put all of it into one code fence, as chats do."""

from __future__ import annotations

from actors.postprocess.parsed import Parsed

NAMES = ("markdown", "md")
TICKS = "```"


def parse_markdown(answer: str) -> Parsed:
    """The Markdown without a fence around the whole of it. A fence that the answer's end cut off counts."""
    first, _, rest = answer.strip().partition("\n")
    name = first.lstrip("`")
    fence = first[: len(first) - len(name)]
    if len(fence) < len(TICKS) or name.strip().lower() not in NAMES:
        return Parsed(answer)
    lines = rest.split("\n")
    if lines[-1].strip() == fence:
        lines.pop()
    inner = sum(line.lstrip().startswith(fence) for line in lines)
    if inner % 2:  # one of them ends the first: it is not around the whole
        return Parsed(answer)
    return Parsed("\n".join(lines))
