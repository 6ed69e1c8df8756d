"""How an answer is drawn and when it ends, in vLLM's words."""

from __future__ import annotations

from typing import Any

from vllm.sampling_params import RepetitionDetectionParams, RequestOutputKind, SamplingParams

from actors.engines.settings import Sampling

LOOP = RepetitionDetectionParams(min_pattern_size=50, max_pattern_size=100, min_count=12)
"""An answer ends when its last 600 to 1200 tokens are one pattern twelve times over.

Every shorter pattern has a multiple between 50 and 100 tokens, so all of up to 100 are found. 600 tokens
are beyond any honest line of dot leaders, and beyond a table's 200 empty cells; an answer in a loop goes on
to thousands. More sizes would cost the scheduler: it tries each, for each page, after each token.
"""


def sampling_params(sampling: Sampling, temperature: float, guard: dict[str, Any] | None) -> SamplingParams:
    """The parameters of one request; ``guard`` as of ``ngram_guard``."""
    return SamplingParams(
        temperature=temperature,
        top_p=sampling.top_p,
        repetition_penalty=sampling.repetition_penalty,
        max_tokens=sampling.max_tokens,
        min_tokens=sampling.min_tokens,
        stop=list(sampling.stop),
        skip_special_tokens=sampling.skip_special_tokens,
        seed=sampling.seed if temperature else None,
        repetition_detection=LOOP if sampling.stop_repetition else None,
        extra_args=guard,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def ngram_guard(sampling: Sampling, tokenizer: Any) -> dict[str, Any] | None:
    """What ``NGramPerReqLogitsProcessor`` reads from each request; None where there is no guard.

    The whitelist's names are tokens of some models and several tokens of others: those are left out.
    """
    if not sampling.ngram_size:
        return None
    vocabulary = tokenizer.get_vocab()
    allowed = [vocabulary[name] for name in sampling.ngram_whitelist if name in vocabulary]
    return {
        "ngram_size": sampling.ngram_size,
        "window_size": sampling.ngram_window,
        "whitelist_token_ids": allowed,
    }
