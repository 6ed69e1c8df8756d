"""A model server that is nothing but latency: every chat is answered after 0.5 s, 256 at a time."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Self

from aiohttp import web

LATENCY_S = 0.5
SLOTS = 256
MODEL = "constant"


class ConstantServer:
    """The server in a process of its own while the block runs."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "benchmarks.server_process"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}/v1"
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.wait()


async def _serve() -> None:
    slots = asyncio.Semaphore(SLOTS)
    choice = {"message": {"role": "assistant", "content": "a page " * 100}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1000, "completion_tokens": 200}
    answer = json.dumps({"choices": [choice], "usage": usage}).encode()

    async def chat(request: web.Request) -> web.Response:
        async for _ in request.content.iter_any():  # read, not kept
            pass
        async with slots:
            await asyncio.sleep(LATENCY_S)
        return web.Response(body=answer, content_type="application/json")

    async def models(request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": MODEL}]})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    app.router.add_get("/v1/models", models)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=2 * SLOTS).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve())
