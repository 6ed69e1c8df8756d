"""Models behind OpenAI-compatible servers: which of several, how many requests, what a failure means."""
