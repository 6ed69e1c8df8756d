"""What a run says at its end."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.final_report import EXIT_FAILED_PAGES, EXIT_OK, exit_status, report_lines


def summary(pages: dict[str, int], changed: int = 0) -> dict[str, Any]:
    run = {
        "pages_read": 0,
        "documents_left_out_by_limit": 0,
        "changed_sources": [f"d{number}.pdf" for number in range(changed)],
    }
    cut = {"pages": 0, "documents_shortened": 0}
    reasons = {"too dark": pages.get("failed", 0)}
    return {
        "documents": 2,
        "pages": pages,
        "flags": {},
        "failure_reasons": reasons,
        "cut": cut,
        "run": run,
    }


@pytest.mark.parametrize(
    ("changed", "told"),
    [(0, None), (2, "d0.pdf, d1.pdf"), (7, "d0.pdf, d1.pdf, d2.pdf, d3.pdf, d4.pdf and 2 more")],
)
def test_changed_sources_are_named_up_to_five(changed, told):
    lines = [line for line in report_lines(summary({"ok": 1}, changed), "out", 0.05) if "changed" in line]
    assert lines == ([f"changed since they were planned or read, so read again: {told}"] if told else [])


@pytest.mark.parametrize(
    ("pages", "status", "error"),
    [
        ({"ok": 95, "failed": 5}, EXIT_OK, ""),
        ({"ok": 94, "failed": 6}, EXIT_FAILED_PAGES, "6 of 100 pages failed"),
        ({"ok": 94, "failed": 5, "skipped": 100}, EXIT_FAILED_PAGES, "5 of 99 pages failed"),
        ({"failed": 2}, EXIT_FAILED_PAGES, "every page failed"),
        ({"skipped": 3}, EXIT_OK, ""),
    ],
)
def test_more_failed_pages_than_may_are_an_error_that_says_why(pages, status, error):
    found = summary(pages)
    last = list(report_lines(found, "out", 0.05))[-1]
    assert exit_status(found, 0.05) == status
    assert last.startswith(f"error: {error}") if error else not last.startswith("error")
