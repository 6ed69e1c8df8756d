"""Why answers end: the words of servers and libraries, and ours for them. One table for all engines."""

from __future__ import annotations

STOP, LENGTH, REPETITION, ABORT, REFUSAL, ERROR = "stop", "length", "repetition", "abort", "refusal", "error"

_OTHER_WORDS = {
    STOP: "eos eos_token end_of_sequence end_turn end stop_sequence stop_token stop_str stop_string "
    "complete completed done finished",
    LENGTH: "max_tokens max_length max_output_tokens max_completion_tokens max_new_tokens model_length "
    "token_limit token_limit_reached context_length context_length_exceeded context_window_exceeded "
    "model_context_window_exceeded incomplete truncated",
    REPETITION: "repetition_detected loop",
    ABORT: "aborted cancelled canceled cancel timeout",
    REFUSAL: "refused content_filter content_filtered safety recitation blocklist prohibited_content spii "
    "language image_safety image_prohibited_content image_recitation guardrail_intervened moderation "
    "sensitive blocked",
    ERROR: "failed failure network_error insufficient_system_resource malformed_response",
}
"""OpenAI's, vLLM's, SGLang's, TGI's, llama.cpp's, Mistral's (model_length), Google's (MAX_TOKENS, SAFETY,
RECITATION, …), Anthropic's (end_turn, refusal), Bedrock's (guardrail_intervened), DeepSeek's."""
_OURS = {word: ours for ours, words in _OTHER_WORDS.items() for word in (ours, *words.split())}


def finish_reason(word: object) -> str:
    """Our word for why an answer ended. No word at all is ``stop``; one we do not know stays as it is."""
    if not isinstance(word, str) or not word.strip():
        return STOP
    plain = word.strip().lower().replace("-", "_").replace(" ", "_").replace(".", "_")
    plain = plain.removeprefix("finishreason_").removeprefix("finish_reason_")
    return _OURS.get(plain, plain)
