"""Test-only: on PYTHONPATH of jobs and their workers, it logs what the scripted engine reads and makes
rendering fail where a test says so. The product knows nothing of it.

``TEST_FAULTS`` names a folder. ``<folder>/reads.log`` gets a line ``begin|done <pid> <page>`` per
read. A file ``<folder>/<file name>#<page>`` holds what happens when that page is rendered: ``segv``,
``raise`` or ``sleep <seconds>``.
"""

import importlib.abc
import importlib.machinery
import os
import sys
import time
from pathlib import Path

FAULTS = Path(os.environ.get("TEST_FAULTS", "/nowhere"))


def log_reads(module):
    read = module.ScriptedEngine.read

    async def logged(self, request):
        note("begin", request)
        answer = await read(self, request)
        note("done", request)
        return answer

    module.ScriptedEngine.read = logged


def note(what, request):
    if request.doc_id:
        line = f"{what} {os.getpid()} {request.doc_id}#{request.page}\n"
        with (FAULTS / "reads.log").open("ab", buffering=0) as file:  # one write: appended whole
            file.write(line.encode())


def spoil_rendering(module):
    start, render = module.PdfPages.__init__, module.PdfPages.render

    def started(self, path, config):
        self.test_name = Path(path).name
        start(self, path, config)

    def spoiled(self, page):
        order = FAULTS / f"{self.test_name}#{page}"
        if order.exists():
            fail(*order.read_text().split())
        return render(self, page)

    module.PdfPages.__init__, module.PdfPages.render = started, spoiled


def fail(what, seconds="0"):
    if what == "segv":
        import ctypes

        ctypes.string_at(0)
    if what == "raise":
        raise RuntimeError("spoiled by the test")
    time.sleep(float(seconds))


HOOKS = {"actors.engines.scripted.engine": log_reads, "actors.render.pdf": spoil_rendering}


class Finder(importlib.abc.MetaPathFinder):
    """Lets the ordinary finder find the module and adds our hook to its loader."""

    def find_spec(self, name, path, target=None):
        if name not in HOOKS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        load = spec.loader.exec_module

        def load_and_hook(module):
            load(module)
            HOOKS[name](module)

        spec.loader.exec_module = load_and_hook
        return spec


if FAULTS.is_dir():
    sys.meta_path.insert(0, Finder())
