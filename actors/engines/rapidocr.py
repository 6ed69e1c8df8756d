"""The embedded CPU engine: RapidOCR with the models its wheel carries. One thread per replica."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import rapidocr

from actors.engines.base import Completion, EngineInfo, Request
from manifests.errors import EngineError
from manifests.rows import Region

BOX_SCALE = 999

# The orientation classifier turns clean upright lines into garbage more often than it helps.
PARAMS = {
    "Global.use_cls": False,
    "Global.log_level": "error",
    "EngineConfig.onnxruntime.intra_op_num_threads": 1,
    "EngineConfig.onnxruntime.inter_op_num_threads": 1,
}


class RapidOcrEngine:
    """Reads the lines of a page, top to bottom. Raises ValueError on an unknown parameter."""

    def __init__(self, engine_args: Mapping[str, Any]) -> None:
        self._ocr = rapidocr.RapidOCR(params={**PARAMS, **engine_args})
        self._lock = asyncio.Lock()

    @property
    def info(self) -> EngineInfo:
        return EngineInfo(name="rapidocr", model="PP-OCRv6", concurrency=1, window=4)

    async def read(self, request: Request) -> Completion:
        if len(request.images) != 1:
            raise EngineError(f"rapidocr reads one image per request, got {len(request.images)}")
        async with self._lock:
            return await asyncio.to_thread(self._read, request)

    def _read(self, request: Request) -> Completion:
        image = request.images[0]
        result = self._ocr(image[:, :, ::-1])  # the library expects BGR
        if result.boxes is None or result.txts is None:
            return Completion("")
        height, width = image.shape[:2]
        regions = tuple(
            Region("line", _box(points, width, height), text)
            for points, text in zip(result.boxes, result.txts, strict=True)
        )
        return Completion("\n".join(result.txts), regions=regions)

    async def close(self) -> None:
        return None


def _box(points: Any, width: int, height: int) -> tuple[int, int, int, int]:
    """Four corner points in pixels as x1, y1, x2, y2 on the 0-999 scale of the page."""
    xs = [min(max(float(x) / width, 0.0), 1.0) for x, _ in points]
    ys = [min(max(float(y) / height, 0.0), 1.0) for _, y in points]
    x1, y1, x2, y2 = (round(BOX_SCALE * v) for v in (min(xs), min(ys), max(xs), max(ys)))
    return x1, y1, x2, y2
