"""The built-in pages that are known to be good: what cannot render or read them is at fault itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifests import samples
from manifests.documents import Document
from manifests.work import PROBE_UNIT, RenderCall, RenderItem

MAX_LOST_CONTROLS = 3
ALONE = "alone"
"""A control that is rendered to tell about deaths."""
TO_READ = "to read"
"""A control that is rendered for an engine."""
MAX_BYTES = 2**36
MAX_S = 60.0
_FOLDER = Path(samples.__file__).parent / "documents"
_PDF = Document("pagefleet/control.pdf", str(_FOLDER / "letter.pdf"))
_PICTURE = Document("pagefleet/control.jpg", str(_FOLDER / "cards" / "box label.jpg"))
"""A picture has no text layer that could be taken instead of what an engine reads."""


def render_control(*, to_read: bool, encode: bool = False) -> RenderCall:
    """A call that renders one page: of a PDF, to see whether that works, or ``to_read`` by an engine."""
    item = RenderItem(0, _PICTURE if to_read else _PDF)
    return RenderCall(PROBE_UNIT, 1, (item,), max_pages=1, max_bytes=MAX_BYTES, max_s=MAX_S, encode=encode)


@dataclass(slots=True)
class ControlCall:
    """The rendering of the built-in page for engines: whether it is wanted, and how often it was lost."""

    wanted: bool = False
    losses: int = 0

    def lost(self) -> None:
        self.losses += 1
        self.wanted = self.losses < MAX_LOST_CONTROLS

    def gave_up(self) -> bool:
        """Whether it was lost too often; says so once."""
        gave_up = self.losses >= MAX_LOST_CONTROLS
        self.losses = 0 if gave_up else self.losses
        return gave_up


class Control:
    """The built-in page for engines: whether it is wanted, its chunk once it is rendered, and its read.

    The suspects want it read alone, to tell about deaths; the breaker wants it read, beside others too.
    """

    def __init__(self) -> None:
        self.handle: Any = None
        self.read = 0
        self.replica = ""
        """Which replica is to read it, or reads it."""
        self._alone = False
        self._rendering = False

    @property
    def is_due(self) -> bool:
        """Whether it is to be read now."""
        return bool(self.replica) and self.handle is not None and not self.read

    def ask(self, replica: str) -> None:
        """Have a replica read it, unless another is to already."""
        self.replica = self.replica or replica

    def must_be_rendered(self) -> bool:
        """Whether to have it rendered; says so once, until it is rendered."""
        if not self.replica or self.handle is not None or self._rendering:
            return False
        self._rendering = True
        return True

    def rendered(self, handle: Any) -> None:
        """``handle`` is its chunk; None: it could not be rendered, nobody need wait for it."""
        self._rendering = False
        self.handle = handle
        self.replica = self.replica if handle is not None else ""

    def given(self, read: int, *, alone: bool) -> None:
        self.read, self._alone = read, alone

    def ended(self) -> bool:
        """Its read has ended, or never will; whether it was alone."""
        alone, self.read, self.replica, self._alone = self._alone, 0, "", False
        return alone

    def lost(self) -> None:
        """Its image is gone with a node: it is rendered anew when it is asked for again."""
        self.handle = None
