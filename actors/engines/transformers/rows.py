"""What happens to each row of a batch while it is generated: how tokens are chosen, and when it ends.

Nothing here depends on the other rows, so that an answer does not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import torch
from transformers import StopStringCriteria

from actors.engines.base import Request
from actors.engines.finish import ABORT, LENGTH, REPETITION, STOP
from actors.engines.repetition import banned_tokens, tail_repeats, text_repeats
from actors.engines.settings import Sampling
from actors.engines.transformers.batching import Pending

LOOK_EVERY = 16
"""Tokens between two looks for a repetition."""


class TokenChoice:
    """A logits processor after which the likeliest token is the one to take, sampled or not.

    Sampling adds Gumbel noise of a row's own generator to the logits (Gumbel-max trick: Maddison et al.,
    A* Sampling, section 2), so that one batch may hold rows of any temperature and a row's draw depends
    on the seed and its page alone.
    """

    def __init__(
        self, requests: Sequence[Request], sampling: Sampling, mask: torch.Tensor, whitelist: Collection[int]
    ) -> None:
        self._sampling = sampling
        self._mask = mask
        self._whitelist = whitelist
        self._start = mask.shape[1]
        self._draws = {
            index: (request.temperature, _generator(request, sampling.seed, mask.device))
            for index, request in enumerate(requests)
            if request.temperature > 0
        }

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        sampling = self._sampling
        if sampling.repetition_penalty != 1.0:
            scores = self._penalised(input_ids, scores)
        if sampling.ngram_size and input_ids.shape[1] > self._start:
            for index, tokens in enumerate(input_ids[:, self._start :].tolist()):
                banned = banned_tokens(tokens, sampling.ngram_size, sampling.ngram_window, self._whitelist)
                scores[index, list(banned)] = -torch.inf
        for index, (temperature, generator) in self._draws.items():
            row = _nucleus(scores[index].float() / temperature, sampling.top_p)
            noise = torch.empty_like(row).exponential_(generator=generator).log()
            scores[index] = row - noise
        return scores

    def _penalised(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Tokens of prompt and answer made unlikelier (Keskar et al., CTRL); padding does not count."""
        new = input_ids.shape[1] - self._start
        mask = torch.nn.functional.pad(self._mask, (0, new), value=1)
        seen = torch.zeros_like(scores, dtype=torch.int64).scatter_add_(1, input_ids, mask.long()) > 0
        penalty = self._sampling.repetition_penalty
        return torch.where(seen, torch.where(scores > 0, scores / penalty, scores * penalty), scores)


def _nucleus(row: torch.Tensor, top_p: float) -> torch.Tensor:
    """Without the tokens beyond the likeliest that make up ``top_p``."""
    if top_p >= 1.0:
        return row
    ranked, order = row.softmax(-1).sort(descending=True)
    beyond = ranked.cumsum(-1) - ranked > top_p
    return row.index_fill(0, order[beyond], -torch.inf)


def _generator(request: Request, seed: int, device: torch.device) -> torch.Generator:
    name = f"{seed} {request.doc_id}#{request.page} {request.temperature}"
    number = int.from_bytes(blake2b(name.encode(), digest_size=7).digest(), "big")
    return torch.Generator(device).manual_seed(number)


@dataclass(frozen=True, slots=True)
class Endings:
    """What of a model ends an answer: tokens, and the library's criterion for texts (None: no texts).

    ``decode`` turns new tokens into text.
    """

    tokens: frozenset[int]
    texts: Any
    decode: Callable[[list[int]], str]


def endings(model: Any, tokenizer: Any, sampling: Sampling) -> Endings:
    """By the model's own generation config and its tokenizer, and the texts the user named."""

    def decode(tokens: list[int]) -> str:
        return str(tokenizer.decode(tokens, skip_special_tokens=sampling.skip_special_tokens))

    named = model.generation_config.eos_token_id
    tokens = {tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])} - {None}
    texts = StopStringCriteria(tokenizer, list(sampling.stop)) if sampling.stop else None
    return Endings(frozenset(tokens), texts, decode)


def known_tokens(tokenizer: Any, names: Collection[str]) -> frozenset[int]:
    """The numbers of these tokens, as far as the tokenizer has them as tokens of their own."""
    vocabulary = tokenizer.get_vocab()
    return frozenset(vocabulary[name] for name in names if name in vocabulary)


class RowEnds:
    """A stopping criterion that ends each row by itself, and says so at once to ``ended``.

    ``limits`` are the new tokens each row may have; ``ended`` is given the row's index, its new tokens
    and the reason.
    """

    def __init__(
        self,
        jobs: Sequence[Pending],
        limits: Sequence[int],
        endings: Endings,
        sampling: Sampling,
        ended: Callable[[int, list[int], str], None],
    ) -> None:
        self._jobs, self._limits = jobs, limits
        self._endings, self._sampling, self._ended = endings, sampling, ended
        self._new = 0
        self._done = [False for _ in jobs]

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        self._new += 1
        last = input_ids[:, -1].tolist()
        stopped = self._stopped_by_text(input_ids)
        for index, job in enumerate(self._jobs):
            if self._done[index]:
                continue
            reason = ""
            if job.answer.cancelled():
                reason = ABORT
            elif last[index] in self._endings.tokens or stopped[index]:
                reason = STOP
            elif self._new >= self._limits[index]:
                reason = LENGTH
            elif self._loops(input_ids[index]):
                reason = REPETITION
            if reason:
                self._done[index] = True
                self._ended(index, input_ids[index, -self._new :].tolist(), reason)
        return torch.tensor(self._done, device=input_ids.device)

    def _stopped_by_text(self, input_ids: torch.Tensor) -> list[bool]:
        if self._endings.texts is None or self._new < self._sampling.min_tokens:
            return [False] * len(self._jobs)
        answer = input_ids[:, -self._new :]  # a text that stands in the prompt ends nothing
        found: list[bool] = self._endings.texts(answer, None).tolist()
        return found

    def _loops(self, row: torch.Tensor) -> bool:
        sampling = self._sampling
        if not sampling.stop_repetition or self._new % LOOK_EVERY or self._new < sampling.min_tokens:
            return False
        tokens = row[-self._new :].tolist()
        if not tail_repeats(tokens):
            return False
        return text_repeats(self._endings.decode(tokens))
