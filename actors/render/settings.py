"""How pages are rendered, and the limits that untrusted documents run under."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from results.fingerprint import CHANGES_RESULT, changes_result_if


class TextLayerUse(StrEnum):
    """What a PDF page's own text is good for."""

    NEVER = "never"
    FALLBACK = "fallback"
    """Taken when the engine fails on the page."""
    PREFER = "prefer"
    """Taken instead of reading pixels where it can be trusted; elsewhere as with FALLBACK."""


class RenderConfig(BaseModel):
    """Image size, caps and time limits. Sizes change results and count in the fingerprint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dpi: int = Field(
        150, ge=36, le=1200, description="Resolution of PDF pages.", json_schema_extra=CHANGES_RESULT
    )
    longest_side: int | None = Field(
        None,
        ge=64,
        le=20_000,
        description="Pixels of the longest side; overrides dpi for PDF pages and shrinks larger images.",
        json_schema_extra=CHANGES_RESULT,
    )
    max_pixels: int = Field(
        40_000_000,
        ge=10_000,
        description="A rendered page is shrunk to at most this many pixels.",
        json_schema_extra=CHANGES_RESULT,
    )
    max_source_pixels: int = Field(
        300_000_000,
        ge=10_000,
        description="An image (also one in a PDF) with more pixels than this is not decoded: its page fails.",
    )
    max_source_bytes: int = Field(8 * 2**30, ge=1, description="A document larger than this is not opened.")
    skip_blank: bool = Field(
        True,
        description="Do not read pages of near-uniform colour: status blank.",
        json_schema_extra=CHANGES_RESULT,
    )
    text_layer: TextLayerUse = Field(
        TextLayerUse.NEVER,
        description="Text that a PDF page holds: never used, a fallback where the engine fails, or "
        "preferred to reading where it can be trusted.",
        json_schema_extra=CHANGES_RESULT,
    )
    jpeg_quality: int = Field(
        95,
        ge=50,
        le=100,
        description="Of pages that travel to a model server.",
        json_schema_extra=changes_result_if({"engine.kind": ["openai"]}),
    )
    open_timeout_s: float = Field(120.0, gt=0, description="Hard limit on opening one document.")
    page_timeout_s: float = Field(60.0, gt=0, description="Hard limit on rendering one page.")
    memory_bytes: int = Field(
        4 * 2**30, ge=2**28, description="Private memory one renderer may allocate while rendering."
    )
    password: SecretStr = Field(
        SecretStr(""), description="Tried on encrypted documents after the empty password."
    )
    cache_dir: str = Field(
        "", description="Node-local folder for fetched sources; default: below the temporary folder."
    )
    cache_bytes: int = Field(20 * 2**30, ge=2**20, description="Bytes of fetched sources kept per node.")
