"""Where the trained tiny reader is."""

from pathlib import Path

MODEL = Path(__file__).with_name("checkpoint")
"""A folder that Transformers and vLLM load; made by ``train``."""
