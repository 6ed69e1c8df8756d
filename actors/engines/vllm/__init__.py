"""Models by vLLM, in this process and its own."""
