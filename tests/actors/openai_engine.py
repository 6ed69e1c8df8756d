"""The openai engine on servers that rest for milliseconds; fixtures and verbs for its tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from actors.engines.base import Completion, Request
from actors.engines.openai import pool
from actors.engines.openai.engine import OpenAiEngine
from actors.engines.settings import EngineConfig
from tests.actors.openai_server import OpenAiServer, digest

JPEG = b"\xff\xd8 a page \xff\xd9"
Work = Callable[[OpenAiEngine], Coroutine[Any, Any, Any]]


@pytest.fixture(autouse=True)
def quick_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "FIRST_REST_S", 0.01)
    monkeypatch.setattr(pool, "LONGEST_REST_S", 0.05)
    for name in ("OPENAI_API_KEY", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[OpenAiServer]:
    with OpenAiServer() as server:
        yield server


@pytest.fixture
def two() -> Iterator[list[OpenAiServer]]:
    with ExitStack() as stack:
        yield [stack.enter_context(OpenAiServer()) for _ in range(2)]


def engine_for(*servers: OpenAiServer | str, **fields: Any) -> OpenAiEngine:
    """``openai`` and the engine's own fields as keywords."""
    urls = [server if isinstance(server, str) else server.url for server in servers]
    openai = {"server_urls": urls, **fields.pop("openai", {})}
    return OpenAiEngine(EngineConfig(openai=openai, **fields))


def run(engine: OpenAiEngine, work: Work) -> Any:
    """Use an engine in an event loop of its own and close it there."""

    async def main() -> Any:
        try:
            return await asyncio.wait_for(work(engine), 60)
        finally:
            await engine.close()

    return asyncio.run(main())


def page(number: int = 1, jpeg: bytes = JPEG, prompt: str = "<image>Read.") -> Request:
    return Request("doc", number, [], prompt, jpegs=[jpeg])


def read(engine: OpenAiEngine, request: Request | None = None) -> Completion:
    completion: Completion = run(engine, lambda engine: engine.read(request or page()))
    return completion


async def read_all(engine: OpenAiEngine, count: int) -> list[Completion]:
    """Pages with an image each of its own, all at once."""
    return await asyncio.gather(*(engine.read(page(n, f"image {n}".encode())) for n in range(count)))


def expect_each_its_own(completions: list[Completion]) -> None:
    own = [f"{digest(f'image {n}'.encode())} | Read." for n in range(len(completions))]
    assert [completion.text for completion in completions] == own


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)
