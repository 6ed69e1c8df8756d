"""Rows that a page reader makes of a real engine's answers."""

from __future__ import annotations

from typing import Any

from actors.retry import RetryPolicy
from results.rows import ResultRow
from tests.actors.test_page_reader import Bench, chunk, page
from tests.engines.tiny_reader.pages import draw

ONCE = RetryPolicy(temperatures=(0.0,), engine_error_attempts=1)


async def read_row(engine: Any, number: str, retry: RetryPolicy = ONCE) -> ResultRow:
    """The row of a page that shows this number."""
    bench = Bench(engine, retry=retry)
    image = draw(number)
    bench.failures += (await bench.reader.read(chunk(page(1, image=image)))).failures
    return bench.row(1)


def ending(row: ResultRow) -> tuple[str, str, str]:
    """What a row says of how its answer ended."""
    return row.status, row.finish_reason, row.reason
