"""An OpenAI-compatible server over real HTTP, in a thread, with faults on demand.

A good answer says what was asked: the question's texts and a digest of each image, in order.
"""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Self

from aiohttp import web

MAX_BODY = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Call:
    """A request for a chat completion. ``number`` counts from 1, ``at`` is ``time.monotonic``'s."""

    number: int
    at: float
    body: dict[str, Any]
    headers: Mapping[str, str]
    peer: int
    """The client's port: the same one for as long as its connection lives."""

    @property
    def parts(self) -> list[str]:
        content = self.body["messages"][0]["content"]
        return [content] if isinstance(content, str) else [_part(part) for part in content]

    @property
    def is_probe(self) -> bool:
        return isinstance(self.body["messages"][0]["content"], str)


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server does instead of answering well."""

    status: int = 200
    body: str | None = None
    """None: a good answer."""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    """Half of the answer, then the connection closes."""
    hang: bool = False
    """No answer; the connection stays open."""
    seconds: float = 0.0
    """How long the answer takes."""


GOOD = Reply()
Script = Callable[[Call], Reply]


class OpenAiServer:
    """Serves ``models`` on a free port of loopback. ``script`` says what each request gets.

    ``unread`` is a status given to chats before their body is read.
    """

    def __init__(
        self, script: Script = lambda call: GOOD, models: Any = ("reader",), key: str = "", owner: str = "us"
    ) -> None:
        self.script = script
        self.models = models
        self.key = key
        self.owner = owner
        self.unread = 0
        self.calls: list[Call] = []
        self.paths: list[str] = []
        self.in_flight = self.most_in_flight = self.disconnected = 0
        self.port = 0
        self._gate: asyncio.Event | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def start(self) -> None:
        """Listen; again on the same port after a ``stop``."""
        self._run(self._start())

    def stop(self) -> None:
        """As if the process had died: the port is closed and so is every connection."""
        self._run(self._stop())

    def hold(self) -> None:
        """Let requests come in but answer none until ``go_on``."""
        self._run(self._set_gate(asyncio.Event()))

    def go_on(self) -> None:
        self._run(self._set_gate(None))

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _set_gate(self, gate: asyncio.Event | None) -> None:
        if self._gate:
            self._gate.set()
        self._gate = gate

    async def _start(self) -> None:
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_get("/v1/models", self._list_models)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/tokenize", self._tokenize)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _stop(self) -> None:
        for connection in self._runner.server.connections if self._runner.server else []:
            if connection.transport:
                connection.transport.abort()
        await self._runner.cleanup()

    async def _list_models(self, request: web.Request) -> web.Response:
        self.paths.append(request.path)
        if self.models is None:
            raise web.HTTPNotFound
        if isinstance(self.models, Reply):
            if self.models.hang:
                await asyncio.Event().wait()
            if self.models.cut and request.transport:
                request.transport.abort()
            return _response(self.models, "")
        if self._is_stranger(request):
            return _response(Reply(401), _error(f"bad key {request.headers.get('Authorization')}"))
        more = {"owned_by": self.owner, "max_model_len": 8192 if self.owner == "vllm" else None}
        return web.json_response({"data": [{"id": model, **more} for model in self.models]})

    async def _tokenize(self, request: web.Request) -> web.Response:
        prompt = (await request.json())["prompt"]
        return web.json_response({"tokens": [len(prompt)] if prompt.startswith("<t") else [1, 2]})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        if self.unread:
            return _response(Reply(self.unread), _error("not even read"))
        body = json.loads(await request.read())
        peer = request.transport.get_extra_info("peername")[1] if request.transport else 0
        call = Call(len(self.calls) + 1, time.monotonic(), body, request.headers.copy(), peer)
        self.calls.append(call)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._answer(request, call)
        except asyncio.CancelledError:
            self.disconnected += 1
            raise
        finally:
            self.in_flight -= 1

    async def _answer(self, request: web.Request, call: Call) -> web.StreamResponse:
        reply = Reply(401, _error("bad key")) if self._is_stranger(request) else self.script(call)
        if self._gate:
            await self._gate.wait()
        if reply.hang:
            await asyncio.Event().wait()
        await asyncio.sleep(reply.seconds)
        good = answer_of(" | ".join(call.parts))
        if not reply.cut:
            return _response(reply, good)
        response = web.StreamResponse(headers={"Content-Length": str(len(good))})
        await response.prepare(request)
        await response.write(good[: len(good) // 2].encode())
        assert request.transport
        request.transport.abort()
        return response

    def _is_stranger(self, request: web.Request) -> bool:
        return bool(self.key) and request.headers.get("Authorization") != f"Bearer {self.key}"


def answer_of(text: str | None, finish_reason: str = "stop") -> str:
    """A good answer's body."""
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}
    return json.dumps({"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 3}})


def digest(jpeg: bytes) -> str:
    """How a good answer names an image."""
    return blake2b(jpeg, digest_size=4).hexdigest()


def _part(part: dict[str, Any]) -> str:
    if part["type"] == "text":
        return str(part["text"])
    head, _, data = part["image_url"]["url"].partition(",")
    assert head == "data:image/jpeg;base64", head
    return digest(base64.b64decode(data, validate=True))


def _error(message: str) -> str:
    return json.dumps({"error": {"message": message}})


def _response(reply: Reply, good: str) -> web.Response:
    text = good if reply.body is None else reply.body
    return web.Response(
        status=reply.status, headers=reply.headers, text=text, content_type="application/json"
    )
