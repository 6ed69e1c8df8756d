"""What a run tells while it goes on."""

from __future__ import annotations

from dataclasses import fields
from typing import get_args

import pytest

from jobs.driver import events
from jobs.progress import line_of

SAMPLES = {"str": "x", "int": 7, "float": 2.5, "bool": False}


@pytest.mark.parametrize("kind", get_args(events.DriverEvent))
def test_every_event_has_a_line_of_its_own(kind):
    event = kind(*(SAMPLES[field.type] for field in fields(kind)))
    line = line_of(event)
    assert line and "{" not in line and kind.__name__ not in line


def test_lines_tell_what_matters_of_an_event():
    assert line_of(events.RendererReplaced("renderer-1", "crash", True, "")) == (
        "renderer-1 is gone (crash); what it was working on is looked at alone"
    )
    assert line_of(events.RendererReplaced("renderer-1", "crash", False, "")).endswith("; it is replaced")
    assert line_of(events.ReplicaReplaced("replica-1", "crash", 3, "a\n b")) == (
        "replica-1 is gone (crash), it is replaced. The end of its log: …a b"
    )
    assert line_of(events.PageCondemned("a.pdf", 2, "why")) == "a.pdf page 2 is recorded as failed: why"
    assert line_of(events.PageCondemned("a.pdf", 0, "why")) == "a.pdf is recorded as failed: why"
