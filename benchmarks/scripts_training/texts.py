"""Texts to draw: lines in every script, and the lines without prose that any page may hold."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache

import wordfreq
from babel import Locale

COVERED = "covered"


@dataclass(frozen=True, slots=True)
class Language:
    """``source`` is the code of a wordfreq list, or of a CLDR locale after ``cldr:``."""

    code: str
    script: str
    source: str
    held_out: bool = False
    spaced: bool = True


def _many(script: str, train: str, test: str = "", spaced: bool = True) -> list[Language]:
    def one(word: str, held_out: bool) -> Language:
        return Language(word.removeprefix("cldr:"), script, word, held_out, spaced)

    return [one(w, False) for w in train.split()] + [one(w, True) for w in test.split()]


LANGUAGES = [
    *_many(
        COVERED,
        "en en de fr es pl cs tr fi ro sv pt lv sl cldr:eo cldr:ga cldr:az",
        "en de it nl hu is da nb lt sk ca id fil sh cldr:et cldr:sq cldr:cy cldr:eu cldr:mt cldr:gd",
    ),
    *_many(COVERED, "zh ja", spaced=False),
    *_many("Greek", "el cldr:el", "el cldr:el"),
    *_many("Cyrillic", "ru bg cldr:kk cldr:ru", "uk mk cldr:be cldr:sr cldr:mn"),
    *_many("Arabic", "ar ur", "fa cldr:ps"),
    *_many("Hebrew", "he", "cldr:he cldr:yi"),
    *_many("Hangul", "ko", "cldr:ko"),
    *_many("Devanagari", "hi cldr:ne", "cldr:mr cldr:hi"),
    *_many("Bengali", "bn", "cldr:as"),
    *_many("Tamil", "ta", "cldr:ta"),
    *_many("Telugu", "cldr:te"),
    *_many("Kannada", "cldr:kn"),
    *_many("Malayalam", "cldr:ml"),
    *_many("Gujarati", "cldr:gu"),
    *_many("Gurmukhi", "cldr:pa"),
    *_many("Sinhala", "cldr:si"),
    *_many("Ethiopic", "cldr:am", "cldr:ti"),
    *_many("Armenian", "cldr:hy"),
    *_many("Georgian", "cldr:ka"),
    *_many("Thai", "cldr:th", spaced=False),
    *_many("Lao", "cldr:lo", spaced=False),
    *_many("Khmer", "cldr:km", spaced=False),
    *_many("Myanmar", "cldr:my", spaced=False),
    *_many("Vietnamese", "vi", "vi"),
]


@cache
def words(source: str) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """The words of a language and their weights. CLDR gives names of places, languages and dates."""
    if source.startswith("cldr:"):
        found = sorted({w for name in _names(Locale(source[5:])) for w in name.split() if len(w) > 1})
        return tuple(found), tuple(1.0 for _ in found)
    top = [w for w in wordfreq.top_n_list(source, 6000) if not w.isascii() or source not in _NOT_ASCII]
    if source == "el":  # the list has no final sigma
        top = [w[:-1] + "ς" if w.endswith("σ") else w for w in top]
    return tuple(top), tuple(1 / (rank + 8) ** 0.8 for rank in range(len(top)))


_NOT_ASCII = {"el", "ru", "bg", "uk", "mk", "ar", "ur", "fa", "he", "ko", "hi", "bn", "ta", "zh", "ja"}


def _names(locale: Locale) -> list[str]:
    tables = [locale.territories, locale.languages, locale.currencies]
    tables += [locale.months["format"]["wide"], locale.days["format"]["wide"]]
    names = [str(name) for table in tables for name in table.values()]
    own = [n for n in names if not n.isascii()]
    return own if len(own) > 0.5 * len(names) else names


def prose(rng: random.Random, language: Language, count: int) -> str:
    """``count`` words in one of the shapes of running text."""
    pool, weights = words(language.source)
    chosen = rng.choices(pool, weights, k=count)
    if not language.spaced:
        return _unspaced(rng, chosen, language)
    for i in range(count):
        if rng.random() < 0.05:
            chosen[i] = rng.choice([str(rng.randint(1, 2100)), f"{rng.randint(1, 99)}%", "XIV"])
        elif rng.random() < 0.12 and language.script != "Georgian":
            chosen[i] = chosen[i].capitalize()
        if rng.random() < 0.13:
            chosen[i] += rng.choice(",,,,..;:!?")
        if rng.random() < 0.03:
            chosen[i] = rng.choice(["({})", "«{}»", "“{}”", "„{}“", "'{}'"]).format(chosen[i])
    text = " ".join(chosen) if language.script == "Georgian" else _cased(rng, " ".join(chosen))
    return text + rng.choice(["", "", "", ".", "-" if language.script == COVERED else ""])


def _cased(rng: random.Random, text: str) -> str:
    kind = rng.random()
    if kind < 0.10:
        return text.upper()
    if kind < 0.18:
        return text.title()
    return text[:1].upper() + text[1:] if kind < 0.55 else text


def _unspaced(rng: random.Random, chosen: list[str], language: Language) -> str:
    comma, stop, gap = ("，", "。", "") if language.code in ("zh", "ja") else (", ", "", " ")
    parts = []
    for word in chosen:
        parts.append(word if rng.random() > 0.04 else str(rng.randint(1, 2100)))
        if rng.random() < 0.12:
            parts.append(rng.choice([comma, gap, stop]))
    return "".join(parts)


def traditional(rng: random.Random) -> str:
    """Chinese in characters of Big5's first level (frequent, traditional), without any sense."""
    pool = [bytes((lead, trail)).decode("big5") for lead in range(0xA4, 0xC6) for trail in range(0x40, 0x7E)]
    return "".join(rng.choices(pool, k=rng.randint(5, 24))) + rng.choice(["", "。", "，"])


def wordless(rng: random.Random) -> str:
    """A line that says nothing of the language: numbers, code, formulas, page numbers, leaders."""
    return rng.choice(_WORDLESS)(rng)


def _number(r: random.Random) -> str:
    n = r.choice([r.randint(0, 99), r.randint(0, 9999), r.randint(0, 10**7)])
    return r.choice(
        [f"{n}", f"{n:,}", f"{n / 100:.2f}", f"-{n / 10:.1f}", f"{n}%", f"{n:,}".replace(",", " ")]
    )


def _numbers(r: random.Random) -> str:
    return r.choice([" ", "  ", "   ", "     "]).join(_number(r) for _ in range(r.randint(1, 7)))


def _english(r: random.Random, low: int, high: int) -> str:
    pool, weights = words("en")
    return " ".join(r.choices(pool, weights, k=r.randint(low, high)))


def _folio(r: random.Random) -> str:
    n = r.randint(1, 900)
    shapes = ["- {} -", "{}", "[{}]", "Chapter {}", "p. {}", "CHAPTER {}", "§ {}", "Fig. {}", "Table {}:"]
    return r.choice([*shapes, "{}.", "({})", "* * *", "— {} —", "Kapitel {}", "iv", "XVII.", "A{}"]).format(n)


def _leader(r: random.Random) -> str:
    dots = r.choice([".", " .", "·", "_"]) * r.randint(8, 40)
    return f"{_english(r, 1, 4).capitalize()} {dots} {r.randint(1, 400)}"


def _code(r: random.Random) -> str:
    a, b, c = (_english(r, 1, 1) for _ in range(3))
    lines = [
        "for ({a} = 0; {a} < n; {a}++) {{", "def {a}(self, {b}: int) -> None:", "    return {a}[{b}] + 1",
        "if {a} != {b} and not {c}:", "}} else {{", "#include <{a}.h>", "import {a}.{b} as {c}",
        'print(f"{a}={{{b}}}")', "SELECT {a}, {b} FROM {c} WHERE id = 7;", "$ sudo apt-get install {a}",
        "x{a} <- {b}$value[1:10]", "0x7fff5fbff8c0 0xdeadbeef", "std::vector<int> {a}_{b};", "// {a} {b} {c}",
        "<td class=\"{a}\">{b}</td>", "int* {a}Ptr = &{b};", "assert {a} == {b}, '{c}'",
    ]  # fmt: skip
    return r.choice(lines).format(a=a, b=b, c=c)


_GREEK = "αβγδεζηθλμξπρστφχψω"


def _formula(r: random.Random) -> str:
    g, h, k = r.choice(_GREEK), r.choice(_GREEK), r.choice("ΔΣΩΠΦΛ")
    w = _english(r, 1, 3)
    lines = [
        "f(x) = ∫ {g}(t) dt + {h}²", "{g} = {n} ± 0.05, {h} ≤ 1", "∀ε > 0 ∃δ > 0: |x − a| < δ",
        "{k}{g} = {h} · x / y",
        "y = mx + b, where {g} is {w}", "a² + b² = c²", "E = mc²", "p < 0.001, n = {n}", "∑ xᵢ = {n}",
        "sin({g}) cos({h}) − tan x", "{w} ({g} = 0.{n})", "{g}₁ + {g}₂ + {h} = 0", "the {g}-{w} of {h}",
        "lim x→0 (1 + x) = e", "L({g}, {h}) = −log p(y | x; {g})", "∂{g}/∂t = {h} ∇²{g}",
    ]  # fmt: skip
    return r.choice(lines).format(g=g, h=h, k=k, n=r.randint(1, 99), w=w)


def _chemistry(r: random.Random) -> str:
    parts = [
        "H2O",
        "NaCl",
        "C6H12O6",
        "H2SO4",
        "CaCO3",
        "Fe2O3",
        "CH3COOH",
        "KMnO4",
        "NH4NO3",
        "CuSO4·5H2O",
        "CO2",
    ]
    return r.choice([" + ", " → ", ", "]).join(r.sample(parts, r.randint(2, 5)))


def _reference(r: random.Random) -> str:
    a, b = (_english(r, 1, 1).capitalize() for _ in range(2))
    year = r.randint(1850, 2025)
    shapes = [
        "[{n}] {a}, {i}., {b}, {j}. ({y}). {w}.", "{a} et al. {y}, pp. {n}–{m}", "www.{w}.org/{a}/{n}",
        "{a}@{b}.com  +49 30 {m}{n}-0", "ISBN 978-3-{m}-{n}-7", "{n} {a} St., {b}, NY {m}",
        "No. {n}/{y} {i}{j}",
        "{a}, {b} — {n} vols., 8vo, £{n} {m}s.", "{i}. {j}. {a} & Co., Ltd.", "Tel.: ({n}) {m}-{y}",
        "• {w}", "☐ {w}", "{n}) {w}", "DOI 10.{m}/{a}.{y}.{n}", "{i}-{n}{j}/{m} {a}",
    ]  # fmt: skip
    words3 = _english(r, 1, 5)
    letters = {"i": r.choice("ABDEFGHJKLMRSTW"), "j": r.choice("ABDEFGHJKLMRSTW")}
    return r.choice(shapes).format(
        a=a, b=b, y=year, n=r.randint(1, 400), m=r.randint(400, 99999), w=words3, **letters
    )


def _letterspaced(r: random.Random) -> str:
    return "  ".join(" ".join(w) for w in _english(r, 1, 3).upper().split())


def _wide_row(r: random.Random) -> str:
    cells = [r.choice([_english(r, 1, 2), _number(r), "—", "n/a"]) for _ in range(r.randint(2, 4))]
    return (" " * r.randint(4, 26)).join(cells)


def _old_spelling(r: random.Random) -> str:
    text = _english(r, 4, 11)
    inner = "".join("ſ" if c == "s" and text[i + 1 : i + 2].isalpha() else c for i, c in enumerate(text))
    return inner.replace("ct", "ct").replace("v", "u").capitalize()


def _initials(r: random.Random) -> str:
    pool, weights = words("en")
    picked = r.choices(pool, weights, k=r.randint(3, 10))
    return " ".join(r.choice([w[0].upper() + ".", w, w.upper(), w[:3].upper()]) for w in picked)


_WORDLESS = [
    _numbers, _numbers, _folio, _folio, _leader, _code, _code, _formula, _formula, _chemistry, _reference,
    _reference, _letterspaced, _wide_row, _wide_row, _old_spelling, _initials,
]  # fmt: skip
