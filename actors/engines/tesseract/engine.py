"""Tesseract 5, where it is installed: a program of its own that is called once or twice per page."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from PIL import Image as PillowImage

from actors.engines.base import Completion, Engine, EngineInfo, Image, Request
from actors.engines.line_ocr.reading import completion_of
from actors.engines.line_ocr.rules import find_rules
from actors.engines.line_ocr.sizes import with_sizes
from actors.engines.line_ocr.upright import Upright, skew_by_profile, straighten
from actors.layout.geometry import hull
from actors.layout.lines import TextLine
from actors.render.raster import turn
from actors.scripts.languages import debian_package, languages_for, with_one_accent
from manifests.errors import ConfigError, EngineError

PROGRAM = "tesseract"
DETECTION = "osd"
LIST_TIMEOUT_S = 30.0
PAGE_TIMEOUT_S = 600.0
DOUBTFUL = 0.7
"""Mean confidence under which it is worth asking which way up the page is and in which script."""
CUT_EM = 1.0
"""A gap this wide, in line heights, parts cells or columns that Tesseract took for one line."""
WORD_LEVEL = "5"
MIN_ORIENTATION_CONFIDENCE = 1.0
"""Tesseract's own measure; upright pages of plain text have 5 to 30, guesses less than 1."""
MODERN_GREEK, ANCIENT_GREEK = "ell", "grc"
TSV = ["-c", "tessedit_create_tsv=1"]


class TesseractEngine(Engine):
    """Reads pages in given languages, or in those of the script it detects.

    Raises ConfigError that names the Debian package when the program or a language is missing.
    """

    def __init__(self, languages: str = "") -> None:
        self.installed = installed_languages()
        self._languages = _checked(languages, self.installed)
        self._version = _version()
        self._lock = asyncio.Lock()

    @property
    def info(self) -> EngineInfo:
        model = f"tesseract {self._version}"
        revision = "+".join(self._languages)
        return EngineInfo("tesseract", model, revision, window=2, deterministic=True)

    def may_read(self, script: str) -> bool:
        """Whether a page in this script is worth a try; one without a name only where none are given."""
        if not script:
            return not self._languages
        return bool(languages_for(script, self._languages or self.installed))

    async def read(self, request: Request, script: str = "") -> Completion:
        """Read one page, in the languages of ``script`` where none were given to the engine."""
        if len(request.images) != 1:
            raise EngineError(f"tesseract reads one image per request, got {len(request.images)}")
        async with self._lock:
            return await asyncio.to_thread(self._read, request.images[0], script)

    def _read(self, image: Image, script: str) -> Completion:
        languages = self._languages or languages_for(script, self.installed)
        page = straighten(image, 0, skew_by_profile(image))
        lines = _read_lines(page.image, languages or languages_for("Latin", self.installed))
        uncovered = None
        if DETECTION in self.installed and (_confidence(lines) < DOUBTFUL or _run_down(lines)):
            detected = _detect(image)
            if detected is not None:
                page, lines = self._second_look(image, detected, page, lines)
            if detected is not None and _confidence(lines) < DOUBTFUL and not self.may_read(detected.script):
                uncovered = detected.script
        completion = completion_of(page, with_sizes(lines, 0.0), find_rules(page.image))
        return replace(completion, uncovered_script=uncovered)

    def _second_look(
        self, image: Image, detected: Detected, page: Upright, lines: list[TextLine]
    ) -> tuple[Upright, list[TextLine]]:
        """Turn the page, or read it in another script, where that reads better."""
        languages = self._languages or languages_for(detected.script, self.installed)
        turned = turn(image, detected.rotation)
        other = straighten(turned, detected.rotation, skew_by_profile(turned))
        read = _read_lines(other.image, languages) if languages else []
        better = _run_down(lines) or _confidence(read) > _confidence(lines)
        return (other, read) if read and better else (page, lines)


def installed_languages() -> tuple[str, ...]:
    """Codes of the installed languages. Raises ConfigError where there is no Tesseract."""
    if shutil.which(PROGRAM) is None:
        raise ConfigError(
            "engine.kind: tesseract is not installed; on Debian or Ubuntu: apt install tesseract-ocr "
            "(and tesseract-ocr-ell, -rus, … for other languages)"
        )
    listed = _run(["--list-langs"], b"", LIST_TIMEOUT_S).decode().splitlines()
    return tuple(line.strip() for line in listed[1:] if line.strip())


def _checked(languages: str, installed: Sequence[str]) -> tuple[str, ...]:
    wanted = tuple(filter(None, (language.strip() for language in languages.split("+"))))
    for language in wanted:
        if language not in installed:
            raise ConfigError(
                f"engine.lang: tesseract has no language {language!r} installed; on Debian or Ubuntu: "
                f"apt install {debian_package(language)}. Installed: {', '.join(installed) or 'none'}"
            )
    return wanted


def _version() -> str:
    first = _run(["--version"], b"", LIST_TIMEOUT_S).decode().split("\n", 1)[0]
    return first.removeprefix("tesseract").strip()


@dataclass(frozen=True, slots=True)
class Detected:
    """``rotation``: degrees clockwise that bring the page upright; ``script``: as Tesseract names it."""

    rotation: int
    script: str


def _detect(image: Image) -> Detected | None:
    """Which way up, and which script; None where there is too little text to tell."""
    try:
        output = _run(["-", "-", "--psm", "0"], _pnm(image), PAGE_TIMEOUT_S).decode()
    except EngineError:
        return None
    fields = dict(line.split(": ", 1) for line in output.splitlines() if ": " in line)
    sure = float(fields.get("Orientation confidence", 0)) >= MIN_ORIENTATION_CONFIDENCE
    return Detected(int(fields.get("Rotate", 0)) if sure else 0, fields.get("Script", ""))


def _read_lines(image: Image, languages: Sequence[str]) -> list[TextLine]:
    arguments = ["-", "-", "--psm", "3", *(["-l", "+".join(languages)] if languages else []), *TSV]
    table = _run(arguments, _pnm(image), PAGE_TIMEOUT_S).decode("utf-8", "replace")
    if MODERN_GREEK in languages and ANCIENT_GREEK not in languages:
        table = with_one_accent(table)
    return list(_lines(csv.DictReader(io.StringIO(table), delimiter="\t", quoting=csv.QUOTE_NONE)))


def _lines(words: csv.DictReader[str]) -> Iterator[TextLine]:
    """Words put together to lines, cut where white parts them."""
    key, line = None, list[TextLine]()
    for word in words:
        text = (word["text"] or "").strip()
        if word["level"] != WORD_LEVEL or not text:
            continue
        x, y, width, height = (float(word[name]) for name in ("left", "top", "width", "height"))
        item = TextLine(text, (x, y, x + width, y + height), float(word["conf"]) / 100)
        own = (word["block_num"], word["par_num"], word["line_num"])
        if line and (own != key or x - line[-1].box[2] > CUT_EM * max(part.height for part in line)):
            yield _joined(line)
            line = []
        key = own
        line.append(item)
    if line:
        yield _joined(line)


def _joined(words: Sequence[TextLine]) -> TextLine:
    score = sum(word.score * len(word.text) for word in words) / sum(len(word.text) for word in words)
    return TextLine(" ".join(word.text for word in words), hull(words), score)


def _run_down(lines: Sequence[TextLine]) -> bool:
    """Whether most of the text runs up or down the page: Tesseract reads it, in the wrong order."""
    long = [line for line in lines if len(line.text) > 3]
    return sum(line.height > line.box[2] - line.box[0] for line in long) > 0.5 * len(long)


def _confidence(lines: Sequence[TextLine]) -> float:
    characters = sum(len(line.text) for line in lines)
    return sum(line.score * len(line.text) for line in lines) / characters if characters else 0.0


def _pnm(image: Image) -> bytes:
    buffer = io.BytesIO()
    PillowImage.fromarray(image).convert("L").save(buffer, "PPM")
    return buffer.getvalue()


def _run(arguments: Sequence[str], stdin: bytes, timeout_s: float) -> bytes:
    """Tesseract's standard output. Raises EngineError with its last output."""
    try:
        done = subprocess.run(  # noqa: S603  a fixed program, a list of arguments, pixels on stdin
            [PROGRAM, *arguments],
            input=stdin,
            capture_output=True,
            timeout=timeout_s,
            env={**os.environ, "OMP_THREAD_LIMIT": "1"},
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"tesseract took longer than {timeout_s:g} s") from error
    if done.returncode != 0:
        log_tail = " ".join(done.stderr.decode("utf-8", "replace").split())
        raise EngineError(f"tesseract: {log_tail[-300:] or f'exit status {done.returncode}'}")
    return done.stdout
