"""OpenAI's chat completions: a request as the bytes of its body, and an answer as a completion."""

from __future__ import annotations

import json
from binascii import b2a_base64
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from actors.engines.base import Completion, Request
from actors.engines.finish import ERROR, LENGTH, REFUSAL, REPETITION, finish_reason
from actors.engines.openai.failures import Fault, ServerFailure, message_in
from actors.engines.prompts import IMAGE, split_prompt
from actors.engines.repetition import text_repeats

PART_BYTES = 3 * 2**16
"""A multiple of three, so that base64 of parts is base64 of the whole."""
OK = 200
LIMITS = {"max_tokens", "max_completion_tokens", "min_tokens"}
"""Fields that a request's own limit lowers."""
LONGEST_REFUSAL = 500


@dataclass(frozen=True, slots=True)
class Body:
    """JSON with images in it: ``pieces`` of finished JSON, and an image between each two.

    Base64 is made while it is sent, a part at a time: hundreds of requests wait for their answers at
    once, and a page of 0.7 MB would hold another 0.9 MB in each. Sending one takes 2 ms of CPU.
    """

    pieces: tuple[bytes, ...]
    jpegs: Sequence[bytes]

    @property
    def size(self) -> int:
        return sum(map(len, self.pieces)) + sum(-(-len(jpeg) // 3) * 4 for jpeg in self.jpegs)

    async def parts(self) -> AsyncIterator[bytes]:
        first, *others = self.pieces
        yield first
        for jpeg, piece in zip(self.jpegs, others, strict=True):
            for start in range(0, len(jpeg), PART_BYTES):
                yield b2a_base64(jpeg[start : start + PART_BYTES], newline=False)
            yield piece


class ChatFormat:
    """Bodies of requests to one model, with the fields that all of them share.

    A field that is None is left out, the temperature too.
    """

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = fields
        self._mark = uuid4().hex  # stands for an image's data; no prompt can hold it by chance or malice
        self._data_url = f"data:image/jpeg;base64,{self._mark}"

    def body(self, request: Request) -> Body:
        """The JSON of a request. Raises EngineError when prompt and images do not match."""
        content = self._content(split_prompt(request.prompt, len(request.jpegs)))
        messages = [{"role": "user", "content": content}]
        given = {"temperature": request.temperature, **self._fields, "messages": messages}
        fields = {name: value for name, value in given.items() if value is not None}
        if request.max_tokens:
            limited = {name: value for name, value in fields.items() if name in LIMITS and type(value) is int}
            fields |= {name: min(value, request.max_tokens) for name, value in limited.items()}
        return Body(tuple(json.dumps(fields).encode().split(self._mark.encode())), request.jpegs)

    def probe(self) -> Body:
        """The smallest question: whether the model answers at all."""
        messages = [{"role": "user", "content": "1"}]
        fields = {"model": self._fields.get("model"), "messages": messages, "max_tokens": 1}
        return Body((json.dumps(fields).encode(),), ())

    def _content(self, parts: Sequence[str]) -> list[dict[str, Any]]:
        """Newlines beside an image are left to the model's chat template, which writes its own."""
        image = {"type": "image_url", "image_url": {"url": self._data_url}}
        texts = (part if part == IMAGE else part.strip("\n") for part in parts)
        return [image if text == IMAGE else {"type": "text", "text": text} for text in texts if text]


def completion_in(body: bytes) -> Completion:
    """The completion in a server's answer. Raises ServerFailure when there is none in it."""
    try:
        answer = json.loads(body)
        choice = answer["choices"][0]
        message = choice["message"]
        text, refusal, ending = message.get("content"), message.get("refusal"), choice.get("finish_reason")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        message = f"its answer is no chat completion: {_excerpt(body)}"
        raise ServerFailure(Fault.SPOILED, message, status=OK) from None
    text = _joined(text) if isinstance(text, list) else text
    reason, detail = finish_reason(ending), ""
    if isinstance(refusal, str) and refusal.strip():
        reason, detail = REFUSAL, " ".join(refusal.split())[:LONGEST_REFUSAL]
    elif reason == REFUSAL:
        detail = str(ending)
    if text is None and reason in (LENGTH, REFUSAL):  # withheld; or a model thought until its limit
        text = ""
    if not isinstance(text, str) or reason == ERROR:
        raise ServerFailure(Fault.SPOILED, f"its answer holds no text: {_excerpt(body)}", status=OK)
    if reason == LENGTH and text_repeats(text):
        reason = REPETITION
    usage = answer.get("usage")
    return Completion(
        text,
        finish_reason=reason,
        prompt_tokens=_count(usage, "prompt_tokens"),
        completion_tokens=_count(usage, "completion_tokens"),
        detail=detail,
    )


def _joined(parts: list[Any]) -> str | None:
    """The text of content in parts; None where there is none."""
    found = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text"]
    texts = [text for text in found if isinstance(text, str)]
    return "".join(texts) if texts else None


def _count(usage: Any, name: str) -> int:
    value = usage.get(name) if isinstance(usage, dict) else 0
    return value if isinstance(value, int) and 0 <= value < 2**31 else 0


def _excerpt(body: bytes) -> str:
    return message_in(body[:1000])[:200] or "it is empty"
