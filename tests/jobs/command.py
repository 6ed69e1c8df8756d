"""``pagefleet`` called in this process, so that a test costs no start of Python; for runs without signals."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from actors.engines.scripted.engine import ScriptedEngine
from jobs.cli.main import app
from tests.cluster.harness import QUICK, Key, script


@dataclass(frozen=True)
class Said:
    """How a command ended and what it told people."""

    exit_status: int
    words: str


@dataclass
class Commands:
    """Runs commands and notes what the scripted engine of those runs reads."""

    cache: Path
    read: list[Key] = field(default_factory=list)

    def run(self, *words: str | Path, sets: Sequence[str] = ()) -> Said:
        """Fails the test on any error that would reach people as a traceback."""
        line = [str(word) for word in words]
        for assignment in sets:
            line += ["--set", assignment]
        self.read.clear()
        result = CliRunner().invoke(app, line, prog_name="pagefleet")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        gc.collect()  # what a stopped run leaves is not to be torn down in the middle of an assertion
        assert "Traceback" not in result.output
        return Said(result.exit_code, result.output)

    def ocr(self, *words: str | Path, sets: Sequence[str] = (), **fields: Any) -> Said:
        """``ocr`` in one process with the scripted engine and a source cache of this test's own."""
        own = [*QUICK, *script(**fields), f"render.cache_dir={json.dumps(str(self.cache))}"]
        return self.run("ocr", *words, "--single-process", sets=[*own, *sets])

    def succeed(self, *words: str | Path, sets: Sequence[str] = (), **fields: Any) -> str:
        said = self.ocr(*words, sets=sets, **fields)
        assert said.exit_status == 0, said.words
        return said.words

    def verify(self, out: Path | str, *words: str) -> None:
        said = self.run("verify", out, *words)
        assert said.exit_status == 0, said.words


@contextmanager
def commands_of(cache: Path) -> Iterator[Commands]:
    commands = Commands(cache)
    read = ScriptedEngine.read

    async def noted(self: ScriptedEngine, request: Any) -> Any:
        if request.doc_id:  # not the warm-up
            commands.read.append((request.doc_id, request.page))
        return await read(self, request)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptedEngine, "read", noted)
        yield commands
