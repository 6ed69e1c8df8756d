"""Languages by Tesseract's codes, the scripts they are written in, and their Debian packages."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from actors.engines.base import SCRIPT_FLAG
from actors.scripts.judge import COVERED_SCRIPTS

MAX_TOGETHER = 3
"""Languages read at once; every one more costs time and accuracy."""

LANGUAGES_OF: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Greek": ("ell", "grc"),
        "Cyrillic": (
            "rus",
            "ukr",
            "bul",
            "srp",
            "bel",
            "mkd",
            "kaz",
            "kir",
            "mon",
            "tgk",
            "uzb_cyrl",
            "aze_cyrl",
        ),
        "Arabic": ("ara", "fas", "urd", "pus", "uig", "snd"),
        "Hebrew": ("heb", "yid"),
        "Hangul": ("kor",),
        "Devanagari": ("hin", "mar", "nep", "san"),
        "Bengali": ("ben", "asm"),
        "Gujarati": ("guj",),
        "Gurmukhi": ("pan",),
        "Kannada": ("kan",),
        "Malayalam": ("mal",),
        "Oriya": ("ori",),
        "Sinhala": ("sin",),
        "Tamil": ("tam",),
        "Telugu": ("tel",),
        "Thai": ("tha",),
        "Lao": ("lao",),
        "Khmer": ("khm",),
        "Myanmar": ("mya",),
        "Tibetan": ("bod", "dzo"),
        "Armenian": ("hye",),
        "Georgian": ("kat",),
        "Ethiopic": ("amh", "tir"),
        "Cherokee": ("chr",),
        "Syriac": ("syr",),
        "Thaana": ("div",),
        "Vietnamese": ("vie",),
        "Han": ("chi_sim", "chi_tra"),
        "Japanese": ("jpn",),
    }
)
"""Scripts as Tesseract's own detection and Unicode name them, the likeliest language first. What is
not listed is written in Latin letters. Vietnamese is: its letters are the ones that engines lack."""

_GREEK_EXTENDED = "\u1f00", "\u1fff"
_ACUTE = "\u0301"
_POLYTONIC = str.maketrans(
    {"\u0300": _ACUTE, "\u0342": _ACUTE, "\u0313": None, "\u0314": None, "\u0345": None}
)
"""Grave and circumflex become the acute; breathings and the iota below go."""

_SYNONYMS = {
    "Fraktur": "Latin",
    "Korean": "Hangul",
    "Katakana": "Japanese",
    "Hiragana": "Japanese",
    "HanS": "Han",
    "HanT": "Han",
}


def script_of(language: str) -> str:
    """The script of a Tesseract language code (``chi_sim_vert`` is ``chi_sim``)."""
    plain = language.removesuffix("_vert")
    return next((script for script, codes in LANGUAGES_OF.items() if plain in codes), "Latin")


def languages_for(script: str, installed: Iterable[str]) -> tuple[str, ...]:
    """Installed languages of a script, likeliest first; none when nothing fits."""
    there = [language for language in installed if language != "osd"]
    script = _SYNONYMS.get(script, script)
    if script == "Latin":
        latin = sorted(
            (code for code in there if script_of(code) == "Latin"), key=lambda code: (code != "eng", code)
        )
        return tuple(latin[:MAX_TOGETHER])
    return tuple(code for code in LANGUAGES_OF.get(script, ()) if code in there)[:MAX_TOGETHER]


def needs_tesseract(languages: str) -> bool:
    """Whether some of the languages are in a script that RapidOCR cannot read at all."""
    covered = {*COVERED_SCRIPTS, "Japanese"}
    return any(script_of(language) not in covered for language in languages.split("+") if language)


def debian_package(language: str) -> str:
    """The package that brings a language to Tesseract on Debian and Ubuntu."""
    return f"tesseract-ocr-{language.replace('_', '-')}"


def package_for(script: str) -> str:
    """The package that most likely helps with a script, or the one with all languages."""
    codes = LANGUAGES_OF.get(_SYNONYMS.get(script, script), ())
    return debian_package(codes[0]) if codes else "tesseract-ocr-all"


def with_one_accent(text: str) -> str:
    """Greek as it is written since 1982: one accent, no breathings. Tesseract's data mixes both."""
    return "".join(_modern(letter) for letter in unicodedata.normalize("NFC", text))


def _modern(letter: str) -> str:
    if not _GREEK_EXTENDED[0] <= letter <= _GREEK_EXTENDED[1]:
        return letter
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", letter).translate(_POLYTONIC))


def script_warnings(flags: Mapping[str, int]) -> list[str]:
    """What to tell of pages by flag whose script was not covered, and what would help."""
    prefix = f"{SCRIPT_FLAG}:"
    named = {flag.removeprefix(prefix): count for flag, count in flags.items() if flag.startswith(prefix)}
    unnamed = flags.get(SCRIPT_FLAG, 0) - sum(named.values())
    warnings = [
        _warning(count, f"{script} text", package_for(script)) for script, count in sorted(named.items())
    ]
    if unnamed > 0:
        warnings.append(_warning(unnamed, "text in an unknown script", package_for("")))
    return warnings


def _warning(count: int, what: str, package: str) -> str:
    pages = "1 page holds" if count == 1 else f"{count:,} pages hold"
    return (
        f"{pages} {what} that the engine cannot read (flag {SCRIPT_FLAG}). Tesseract can: "
        f"apt install {package}, then run again with --engine auto --new-generation"
    )
