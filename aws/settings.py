"""How to reach S3. Holds no credentials: they come from the usual AWS chain."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class S3Config(BaseModel):
    """Where S3 is and how patient to be with it. Hashable and picklable.

    ``endpoint_url`` names an S3-compatible server (MinIO, Ceph); None is AWS itself. ``profile`` and
    ``region`` default to what the AWS environment and configuration files say. The pause before attempt
    n is a random share of ``backoff_s * 2**(n-2)``, 20 s at most: half a minute for 8 attempts.
    ``read_timeout_s`` bounds the silence between two pieces of an answer, ``download_timeout_s`` all
    attempts to read one object or one page of a listing, so that a server which drips is given up.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    endpoint_url: str | None = Field(
        default=None, pattern=r"^https?://[^/\s]+", description="S3-compatible server; default: AWS itself."
    )
    profile: str | None = Field(default=None, min_length=1, description="AWS profile.")
    region: str | None = Field(default=None, min_length=1, description="AWS region.")
    max_attempts: int = Field(default=8, ge=1, le=100, description="Attempts at one request.")
    backoff_s: float = Field(default=0.5, ge=0, description="Grows twofold from one attempt to the next.")
    connect_timeout_s: float = Field(default=10.0, gt=0, description="How long connecting to S3 may take.")
    read_timeout_s: float = Field(default=60.0, gt=0, description="How long S3 may be silent.")
    download_timeout_s: float = Field(
        default=900.0, gt=0, description="All attempts to read one object or list one page."
    )
    max_pool_connections: int = Field(default=32, ge=1, description="Connections of one process.")
