"""What a run says at its end, and the exit status that follows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from actors.scripts.languages import script_warnings
from results.rows import Status

EXIT_OK = 0
EXIT_FAILED_PAGES = 3
MAX_NAMED = 5


def report_lines(summary: dict[str, Any], output: str, max_failed_share: float) -> Iterator[str]:
    """What was read, what was left out and why, where it is, and why pages failed."""
    run, pages = summary["run"], summary["pages"]
    statuses = ", ".join(f"{name} {count:,}" for name, count in sorted(pages.items())) or "none"
    yield f"{sum(pages.values()):,} pages in {summary['documents']:,} documents: {statuses}"
    if run["pages_read"]:
        yield f"read {run['pages_read']:,} pages in {run['elapsed_s']:.1f} s ({run['pages_per_s']:.1f}/s)"
    if left_out := run["documents_left_out_by_limit"]:
        yield f"cut by --limit: {left_out:,} documents were left out of this run"
    if (cut := summary["cut"])["pages"]:
        yield (
            f"cut by --max-pages: {cut['pages']:,} pages of {cut['documents_shortened']:,} documents "
            "were not read"
        )
    if changed := run["changed_sources"]:
        names = ", ".join(changed[:MAX_NAMED])
        more = f" and {len(changed) - MAX_NAMED:,} more" if len(changed) > MAX_NAMED else ""
        yield f"changed since they were planned or read, so read again: {names}{more}"
    for line in script_warnings(summary["flags"]):
        yield f"warning: {line}"
    yield f"Markdown: {output}/markdown  rows: {output}/pages"
    yield from _failure_lines(summary, output, max_failed_share)


def exit_status(summary: dict[str, Any], max_failed_share: float) -> int:
    """Whether more pages failed than may."""
    failed, planned = _failed_of(summary)
    return EXIT_OK if failed <= planned * max_failed_share else EXIT_FAILED_PAGES


def _failure_lines(summary: dict[str, Any], output: str, max_failed_share: float) -> Iterator[str]:
    failed, planned = _failed_of(summary)
    if not failed:
        return
    reasons = summary["failure_reasons"]
    yield f"{failed:,} page{'s' * (failed > 1)} failed; the most frequent reasons:"
    for reason, count in reasons.items():
        yield f"{count:>9,} × {reason}"
    yield f"all of them: {output}/failures.jsonl; 'pagefleet retry {output}' reads them again"
    if exit_status(summary, max_failed_share) != EXIT_OK:
        what = f"{failed:,} of {planned:,} pages failed" if failed < planned else "every page failed"
        yield (
            f"error: {what}, and the share that may is {max_failed_share:.4g} (--max-failed); "
            f"first of all because of: {next(iter(reasons), '?')}"
        )


def _failed_of(summary: dict[str, Any]) -> tuple[int, int]:
    """How many pages failed, of how many that were to be read."""
    pages = summary["pages"]
    return pages.get(Status.FAILED, 0), sum(pages.values()) - pages.get(Status.SKIPPED, 0)
