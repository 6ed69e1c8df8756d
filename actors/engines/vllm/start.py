"""Starts vLLM, and says in our words why it does not start and what would work.

vLLM's processes write why they die; its exception says only that one did. What they write is therefore
listened to, and passed on to stderr.
"""

from __future__ import annotations

import os
import random
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.executor.abstract import Executor

from actors.engines.vllm.failures import explain, is_collision, root_cause
from manifests.errors import ConfigError, EngineDead

ATTEMPTS = 3
BACKOFF_S = 5.0
REMEMBERED_LINES = 400
COLOURS = re.compile(rb"\x1b\[[0-9;]*m")


def create_config(arguments: AsyncEngineArgs) -> Any:
    """vLLM's configuration, checked in this process. Raises ConfigError."""
    try:
        return arguments.create_engine_config()
    except Exception as error:
        raise ConfigError(_message(arguments, [str(error)])) from error


def start(config: Any, arguments: AsyncEngineArgs) -> tuple[AsyncLLM, deque[str]]:
    """vLLM with the model loaded, and the last lines its processes wrote, kept up to date.

    May be called in any thread. Several replicas that start at once can want the same port or cache
    file: then it is tried again. Raises ConfigError where the user can do something about it, else
    EngineDead.
    """
    for attempt in range(1, ATTEMPTS + 1):
        failure: Exception
        with captured_log() as log_tail:
            try:
                return _start(config, arguments), log_tail
            except Exception as error:  # noqa: BLE001 - the boundary to vLLM: explained below
                failure = error
        output = [*log_tail, f"{type(failure).__name__}: {failure}"]
        if attempt == ATTEMPTS or not is_collision(output):
            break
        time.sleep(BACKOFF_S * attempt * random.uniform(0.5, 1.5))  # noqa: S311 - to spread, not to hide
    wrong = explain(output) or isinstance(failure, (ValueError, TypeError, OSError))
    raise (ConfigError if wrong else EngineDead)(_message(arguments, output)) from failure


def _start(config: Any, arguments: AsyncEngineArgs) -> AsyncLLM:
    log_stats = not arguments.disable_log_stats
    return AsyncLLM(config, Executor.get_class(config), log_stats=log_stats, log_requests=False)


def _message(arguments: AsyncEngineArgs, output: list[str]) -> str:
    return f"vLLM cannot load {arguments.model}: {explain(output) or root_cause(output)}"


@contextmanager
def captured_log() -> Iterator[deque[str]]:
    """The last lines that this process and those it starts in the meantime write, for as long as they do.

    This process gets its own stdout and stderr back at the end: what it prints last must not need a thread.
    """
    listener = _Listener()
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [(os.dup(number), number) for number in (1, 2)]
    for _, number in saved:
        os.dup2(listener.sink, number)
    try:
        yield listener.log_tail
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for own, number in saved:
            os.dup2(own, number)
            os.close(own)
        listener.catch_up()


class _Listener:
    """A pipe whose lines are remembered and passed on to stderr, until all who hold its end are gone."""

    def __init__(self) -> None:
        self.log_tail: deque[str] = deque(maxlen=REMEMBERED_LINES)
        self._source, self.sink = os.pipe()
        self._stderr = os.dup(2)
        self._mark = uuid4().hex.encode()
        self._marked = threading.Event()
        threading.Thread(target=self._listen, name="vllm-output", daemon=True).start()

    def catch_up(self) -> None:
        """Return when everything written so far is there, and let go of our end."""
        os.write(self.sink, b"\n" + self._mark + b"\n")
        self._marked.wait()
        os.close(self.sink)

    def _listen(self) -> None:
        with os.fdopen(self._source, "rb") as lines:
            for line in lines:
                if self._mark in line:
                    self._marked.set()
                else:
                    self.log_tail.append(COLOURS.sub(b"", line).decode(errors="replace").rstrip())
                    os.write(self._stderr, line)
        os.close(self._stderr)
