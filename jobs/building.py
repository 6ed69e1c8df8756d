"""``pagefleet manifest build``: what the command composes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from actors.render.renderer import Renderer
from actors.sources.cache import SourceCache
from aws.s3_source import S3Source, list_documents
from jobs.config import JobConfig
from manifests.build import build_manifest
from manifests.documents import Document
from manifests.errors import DocumentError, SourceUnavailable
from manifests.inputs import expand_inputs
from manifests.work import RenderCall, RenderItem


def build_manifest_file(
    inputs: Sequence[str], output: Path, page_counts: bool, hashes: bool, config: JobConfig
) -> str:
    """Write the manifest; returns what to tell the user."""
    found = expand_inputs(inputs, lambda uri: list_documents(uri, config.s3))
    source = S3Source(config.s3)
    sources = SourceCache(config.render.cache_dir, config.render.cache_bytes, {"s3": source})

    renderer = Renderer(config.render, sources, hard_limits=False)

    def count(document: Document) -> int:
        opening = RenderCall("", 1, (RenderItem(0, document),), max_pages=0, max_bytes=1, max_s=1.0)
        report, _ = renderer.render(opening)
        if report.unavailable:
            raise SourceUnavailable(report.unavailable[0].message)
        opened = report.opened[0]
        if opened.error:
            raise DocumentError(opened.error)
        return opened.page_count

    built = build_manifest(
        found,
        output,
        hashes=hashes,
        stat_remote=source.stat,
        count_pages=count if page_counts else None,
    )
    lines = [f"warning: {warning}" for warning in found.warnings]
    if built.errors:
        lines.append(f"{built.errors} documents cannot be read: see the column 'error'")
    return "\n".join([*lines, f"{built.documents:,} documents in {output}"])
