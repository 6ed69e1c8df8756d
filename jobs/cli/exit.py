"""How a command speaks and ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import typer

from manifests.errors import PagefleetError


def say(line: str) -> None:
    """One plain line for people, on standard error so that pipes stay clean."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def exit_with(work: Callable[[], int]) -> None:
    """The one boundary: deliberate errors become a message, whatever else keeps its traceback."""
    try:
        status = work()
    except PagefleetError as error:
        say(f"error: {error}")
        status = error.exit_status
    except KeyboardInterrupt:
        say("interrupted: run the same command again to go on")
        status = 130
    if status == 130:
        os._exit(status)  # an engine's thread may still be busy with a page for a while
    raise typer.Exit(status)
