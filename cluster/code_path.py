"""Where processes that run our code find it."""

from __future__ import annotations

import os
from pathlib import Path

CODE = str(Path(__file__).resolve().parents[1])
"""The folder that holds our packages."""


def code_path() -> str:
    """``PYTHONPATH`` for workers: our code first, and never the working directory, whose files may be
    named like modules."""
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return os.pathsep.join(filter(None, dict.fromkeys([CODE, *known])))
