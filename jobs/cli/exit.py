"""How a command ends: its work's outcome, or an error, as a message and an exit status."""

from __future__ import annotations

import os
from collections.abc import Callable

import typer

from jobs.cli.console import say, settle
from jobs.interrupts import EXIT_INTERRUPTED, Interrupts, interrupts
from manifests.errors import PagefleetError

GO_ON = "interrupted: run the same command again to go on"


def exit_with(work: Callable[[Interrupts], int]) -> None:
    """The one boundary: deliberate errors become a message, whatever else keeps its traceback. Once a stop
    was asked for, what comes of it is no error of its own."""
    with interrupts() as stop:
        try:
            status = work(stop)
        except KeyboardInterrupt:
            say(GO_ON)
            status = EXIT_INTERRUPTED
        except SystemExit:
            if not stop.is_set():
                raise
            say(GO_ON)
            status = EXIT_INTERRUPTED
        except PagefleetError as error:
            error = _as_raised(error)
            say(f"error: {error}")
            status = EXIT_INTERRUPTED if stop.is_set() else error.exit_status
        except Exception as error:
            if not stop.is_set():
                raise
            say(f"{GO_ON} (while it stopped: {type(error).__name__}: {error})")
            status = EXIT_INTERRUPTED
        if lost := settle():
            say(f"error: {lost}")
            status = status or 1
        if status == EXIT_INTERRUPTED:
            os._exit(status)  # an engine's thread may still be busy with a page for a while
    raise typer.Exit(status)


def _as_raised(error: PagefleetError) -> PagefleetError:
    """An error as it was raised: one that travelled from a worker may carry that as its cause."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, PagefleetError) else error
