"""Where the command begins: before anything heavy is imported, streams are steady and signals are heard."""

from __future__ import annotations

import os
import signal
import sys

from jobs.cli.console import prepare, say, settle
from jobs.interrupts import EXIT_INTERRUPTED, SIGNALS, interrupts


def main() -> None:
    """The console command."""
    prepare()
    with interrupts() as stop:
        try:
            os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
            from jobs.cli.main import app

            app()
        except SystemExit as end:
            if stop.is_set() and end.code:  # while arguments were read
                _end(EXIT_INTERRUPTED)
            raise SystemExit(_settled(end.code)) from None
        except BaseException:
            if not stop.is_set():
                raise
            say("interrupted")
            _end(EXIT_INTERRUPTED)


def run_command(name: str) -> None:
    """One command as a program of its own."""
    sys.argv[1:1] = [name]
    main()


def _settled(code: object) -> int:
    """The exit status. Nothing that is heard while the interpreter ends changes it."""
    status = code if isinstance(code, int) else int(code is not None)
    if settle():
        status = status or 1
    for number in SIGNALS:
        signal.signal(number, lambda *_: os._exit(status))
    return status


def _end(status: int) -> None:
    settle()
    os._exit(status)
