"""The command line's options, grouped as its help shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

MODEL = "Engine and model"
PAGES = "Pages"
FLEET = "Fleet"
LIMITS = "Limits"
S3 = "S3"

Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT",
        help="Files, folders, quoted globs, s3:// prefixes, manifests (.jsonl, .csv, .parquet).",
    ),
]
Output = Annotated[str, typer.Option("--output", "-o", help="Output folder or s3:// prefix.")]
Out = Annotated[str, typer.Argument(metavar="OUT", help="Output folder or s3:// prefix of a job.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", "-c", help="YAML with any of the settings.")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any setting: --set engine.sampling.max_tokens=2048."),
]
SingleProcess = Annotated[
    bool, typer.Option("--single-process", help="Without Ray: for debugging and small jobs.")
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Load and write nothing: check inputs, engine, weights, memory, servers and output. Exit "
        "status 1 when something stands in the way.",
    ),
]
NewGeneration = Annotated[
    bool,
    typer.Option("--new-generation", help="Settings changed: read everything again into this output."),
]

Engine = Annotated[
    str | None,
    typer.Option(
        help="rapidocr (default), tesseract or auto (both) on CPUs; vllm (default with --model), "
        "transformers, or openai (default with --server-url).",
        rich_help_panel=MODEL,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        help="Preset (deepseek-ocr, internvl3.5:2b; see 'pagefleet models list'), folder or hub id.",
        rich_help_panel=MODEL,
    ),
]
Mode = Annotated[
    str | None,
    typer.Option(help="What the model is asked, by the preset: clean, grounded, …", rich_help_panel=MODEL),
]
Size = Annotated[
    str | None,
    typer.Option(help="How large the model sees a page, by the preset: small, …", rich_help_panel=MODEL),
]
Prompt = Annotated[
    str | None,
    typer.Option(help="Instead of the preset's; <image> stands for the page.", rich_help_panel=MODEL),
]
ServerUrl = Annotated[
    list[str] | None,
    typer.Option(
        metavar="URL",
        help="OpenAI-compatible server, like http://localhost:8000/v1; repeat it for several.",
        rich_help_panel=MODEL,
    ),
]
Lang = Annotated[
    str | None,
    typer.Option(
        help="Languages by Tesseract's codes (ell, deu+eng); implies --engine auto.", rich_help_panel=MODEL
    ),
]
BatchSize = Annotated[
    str | None,
    typer.Option(metavar="N|auto", help="Pages per batch of transformers.", rich_help_panel=MODEL),
]
MaxTiles = Annotated[
    int | None, typer.Option(help="Tiles a page is cut into, at most (InternVL).", rich_help_panel=MODEL)
]
Device = Annotated[
    str | None, typer.Option(metavar="auto|cuda|cpu", help="Where a model runs.", rich_help_panel=MODEL)
]
Gpus = Annotated[
    str | None, typer.Option(metavar="0,1,…", help="GPUs of a local run.", rich_help_panel=MODEL)
]
TensorParallelSize = Annotated[
    int | None,
    typer.Option(
        "--tensor-parallel-size", "--tp", help="GPUs over which one model is split.", rich_help_panel=MODEL
    ),
]

Dpi = Annotated[
    int | None,
    typer.Option(help="Resolution of PDF pages (default: the preset's, else 150).", rich_help_panel=PAGES),
]
LongestSide = Annotated[
    int | None, typer.Option(help="Pixels of the longest side, instead of --dpi.", rich_help_panel=PAGES)
]
TextLayer = Annotated[
    str | None,
    typer.Option(
        metavar="never|fallback|prefer",
        help="Text a PDF page holds: taken never (default), where the engine fails, or, where it "
        "can be trusted, instead of reading.",
        rich_help_panel=PAGES,
    ),
]
Password = Annotated[
    str | None,
    typer.Option(help="For encrypted PDFs, after the empty password was tried.", rich_help_panel=PAGES),
]
PageImages = Annotated[
    bool | None,
    typer.Option("--page-images", help="Keep rendered pages beside the Markdown.", rich_help_panel=PAGES),
]

Replicas = Annotated[int | None, typer.Option(help="Engine replicas (default: auto).", rich_help_panel=FLEET)]
Address = Annotated[
    str | None,
    typer.Option(help="Ray cluster to join (default: RAY_ADDRESS, else local).", rich_help_panel=FLEET),
]
ShardIndex = Annotated[int | None, typer.Option(help="This process's share, from 0.", rich_help_panel=FLEET)]
NumShards = Annotated[int | None, typer.Option(help="Processes that share the input.", rich_help_panel=FLEET)]

MaxPages = Annotated[
    int | None, typer.Option(help="Read only the first N pages of each document.", rich_help_panel=LIMITS)
]
Limit = Annotated[int | None, typer.Option(help="Read only the first N documents.", rich_help_panel=LIMITS)]
MaxFailed = Annotated[
    float | None,
    typer.Option(help="Share of pages that may fail before exit status 3.", rich_help_panel=LIMITS),
]
Deadline = Annotated[
    float | None, typer.Option(help="Stop, resumable, after so many seconds.", rich_help_panel=LIMITS)
]

Endpoint = Annotated[
    str | None, typer.Option("--s3-endpoint-url", help="S3-compatible server.", rich_help_panel=S3)
]
Profile = Annotated[str | None, typer.Option("--s3-profile", help="AWS profile.", rich_help_panel=S3)]
Region = Annotated[str | None, typer.Option("--s3-region", help="AWS region.", rich_help_panel=S3)]
