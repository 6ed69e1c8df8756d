"""The local fleet's renderer, seen from the driver: a child process, started again when it ends.

It has a process of its own because a page that hangs or crashes MuPDF must still cost only itself.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

from cluster import signals
from cluster.code_path import code_path
from cluster.fleet import Cause, Event, RenderDone, RendererLost, RendererUp
from cluster.restarts import restart_after_s
from cluster.roles import Renderer
from manifests.errors import PagefleetError, UserError
from manifests.work import RenderCall

NODE = "local"
STOP_WITHIN_S = 3.0
Events = queue.Queue[Event | BaseException]


class _Child:
    """One process, and the calls it has been given, oldest first."""

    def __init__(self, make_renderer: Callable[[], Renderer]) -> None:
        self.calls: list[int] = []
        self.ready = False
        self.pipe, theirs = multiprocessing.Pipe()
        command = [sys.executable, "-P", "-m", "cluster.render_child", str(theirs.fileno())]
        try:
            with signals.held_back():
                self._process = subprocess.Popen(  # noqa: S603 - our own module in this interpreter
                    command,
                    stdin=subprocess.DEVNULL,
                    env={**os.environ, "PYTHONPATH": code_path()},
                    pass_fds=[theirs.fileno()],
                )
        finally:
            theirs.close()
        with suppress(OSError):  # it has ended already: whoever receives from it finds out
            self.pipe.send(make_renderer)

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> str:
        """See that it is gone; says how it ended."""
        self._process.kill()
        status = self._process.wait()
        if status < 0:
            return f"the rendering process was ended by {signal.Signals(-status).name}"
        return f"the rendering process ended with status {status}"


class LocalRenderer:
    """Keeps one rendering process running and turns what it says into events."""

    def __init__(self, make_renderer: Callable[[], Renderer], events: Events) -> None:
        self._make_renderer = make_renderer
        self._events = events
        self._child: _Child | None = None
        self._name = ""
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="renderer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def send(self, renderer: str, call: int, request: RenderCall) -> None:
        """Hand over a call. One that comes too late for its renderer is lost with it."""
        with self._lock:
            child = self._child
            if child is None or renderer != self._name:
                return
            child.calls.append(call)
        with suppress(OSError):  # it died: the receiving thread tells
            child.pipe.send(request)

    def stop(self) -> None:
        with self._lock:
            self._stopping.set()
            if self._child is not None:
                self._child.kill()
        if self._thread.is_alive():
            self._thread.join(STOP_WITHIN_S)

    def _run(self) -> None:
        failed_starts = number = 0
        while not self._stopping.wait(restart_after_s(failed_starts)):
            number += 1
            name = f"renderer-{number}"
            try:
                lost = self._serve(name)
            except Exception as error:  # noqa: BLE001 - this thread must not end in silence
                self._events.put(error)
                return
            if self._stopping.is_set():
                return
            failed_starts = failed_starts + 1 if lost.cause is Cause.START else 0
            self._events.put(lost)

    def _serve(self, name: str) -> RendererLost:
        """Have one process render until it is gone. Raises what ends the job."""
        try:
            child = _Child(self._make_renderer)
        except OSError as error:  # no memory, no process to be had
            return RendererLost(name, Cause.START, (), str(error))
        with self._lock:
            self._child, self._name = child, name
            if self._stopping.is_set():
                child.kill()
        why = ""
        try:
            why = self._take_answers(child, name)
        except (EOFError, OSError):
            pass  # it is gone: that is what this waits for
        finally:
            with self._lock:
                self._child = None  # until its successor is there, no call may be taken for it
            how = child.end()
        cause = Cause.CRASH if child.ready else Cause.START
        return RendererLost(name, cause, tuple(child.calls), why or how)

    def _take_answers(self, child: _Child, name: str) -> str:
        """Until the process ends. Returns why it could not start, raises any other error it tells of."""
        while True:
            answer = child.pipe.recv()
            if answer is None:
                child.ready = True
                self._events.put(RendererUp(name, NODE))
            elif isinstance(answer, PagefleetError):
                if child.ready or isinstance(answer, UserError):
                    raise answer
                return str(answer)
            else:
                with self._lock:
                    call = child.calls.pop(0)
                self._events.put(RenderDone(call, *answer))
