"""``python -m jobs.reference > docs/settings.md``: every setting, from the models that declare them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from enum import Enum
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from jobs.cli.options import FLAGS
from jobs.config import JobConfig
from jobs.setting_names import settings_of, variable_of
from results.fingerprint import mark_of, section_of

DOT = "•"
INTRODUCTION = f"""# Settings

Made by `python -m jobs.reference > docs/settings.md` from where settings are declared.

Each is `--set NAME=VALUE`, a line in the YAML given with `-c`, or an environment variable: `render.dpi` is
`{variable_of("render.dpi")}`. An option beats `--set`, that beats the environment, that beats the file, that
beats the model's preset. What changes a result has a **{DOT}** and belongs to the output's fingerprint: an
output keeps it. `job.json` shows what a job ran with.
"""


def lines() -> Iterator[str]:
    """The page, a table for each section."""
    yield from INTRODUCTION.splitlines()
    section = None
    for name, field in settings_of(JobConfig):
        if (above := name.rpartition(".")[0]) != section:
            section = above
            yield from (
                "",
                f"## {section or 'the job'}",
                "",
                "| setting | default | | |",
                "|---|---|---|---|",
            )
        yield _row(name, field)


def _row(name: str, field: FieldInfo) -> str:
    default = _shown(field.get_default(call_default_factory=True))
    what = (field.description or "").replace("|", "\\|").replace("<", "&lt;")
    options = ", ".join(f"`{flag}`" for flag in _flags(name))
    dot = DOT if _changes_result(name) else ""
    return f"| `{name}` | {default} | {dot} | {' '.join(filter(None, [what, options]))} |"


def _flags(name: str) -> tuple[str, ...]:
    return next((flags[name] for flags in FLAGS.values() if name in flags), ())


def _changes_result(name: str) -> bool:
    """By the field's own mark, or that of a section above it."""
    model: Any = JobConfig
    for part in name.split("."):
        field: FieldInfo = model.model_fields[part]
        if mark_of(field) is not None:
            return True
        model = section_of(field)
    return False


def _shown(default: Any) -> str:
    value = default.value if isinstance(default, Enum) else default
    if value in (None, "", (), {}) or isinstance(value, SecretStr):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(f"`{each}`" for each in value)
    return (
        f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else f"`{value}`"
    )


if __name__ == "__main__":
    sys.stdout.write("\n".join(lines()) + "\n")
