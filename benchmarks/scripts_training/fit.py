"""Fit the classifier of lines on collected records and write its weights."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import rapidocr
from sklearn.neural_network import MLPClassifier

from actors.scripts import features as script_features
from benchmarks.scripts_training.texts import COVERED

HIDDEN = 24
UNKNOWN_ASPECT = 0.2  # share of the lines shown a second time without their aspect


def records(paths: list[Path]) -> list[dict[str, Any]]:
    """The records with their true class: a foreign line of which no letter is lost counts as covered."""
    rows = []
    for path in paths:
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            rows.append(row | {"id": f"{path}:{row['page']}"})
    for row in rows:
        lost = sum(c.isalpha() and c not in dictionary() for c in row["truth"])
        row["label"] = row["script"] if row["script"] == "Greek" or lost else COVERED
        if row["script"] == COVERED:
            row["label"] = COVERED
    return rows


@lru_cache(maxsize=1)
def dictionary() -> frozenset[str]:
    """The characters that the recogniser in the installed RapidOCR can answer."""
    path = next((Path(rapidocr.__file__).parent / "models").glob("*rec*.onnx"))
    meta = onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map
    return frozenset(meta["character"].splitlines())


def vocabulary(rows: list[dict[str, Any]], least: int) -> dict[str, int]:
    """Grams found on ``least`` pages or more."""
    pages: Counter[str] = Counter()
    seen: set[tuple[str, str]] = set()
    for row in rows:
        for gram in script_features.grams(row["text"]):
            if (gram, row["id"]) not in seen:
                seen.add((gram, row["id"]))
                pages[gram] += 1
    return {g: i for i, g in enumerate(sorted(g for g, n in pages.items() if n >= least))}


def matrix(rows: list[dict[str, Any]], known: dict[str, int], aspects: bool = True) -> np.ndarray[Any, Any]:
    return np.array(
        [script_features.vector(r["text"], r["score"], r["aspect"] if aspects else 0.0, known) for r in rows]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--least", type=int, default=12)
    parser.add_argument("--alpha", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rows = records(options.records)
    known = vocabulary(rows, options.least)
    labels = np.array([r["label"] for r in rows])
    blind = np.random.default_rng(options.seed).random(len(rows)) < UNKNOWN_ASPECT
    hidden_boxes = [row for row, chosen in zip(rows, blind, strict=True) if chosen]
    inputs = np.vstack([matrix(rows, known), matrix(hidden_boxes, known, aspects=False)])
    network = MLPClassifier((HIDDEN,), alpha=options.alpha, max_iter=120, random_state=options.seed)
    network.fit(inputs, np.concatenate([labels, labels[blind]]))
    options.out.parent.mkdir(exist_ok=True)
    (hidden, out), (hidden_bias, out_bias) = network.coefs_, network.intercepts_
    np.savez_compressed(
        options.out,
        classes=network.classes_.astype("U"),
        grams=np.array(list(known), dtype="U2"),
        hidden=hidden.astype(np.float16), hidden_bias=hidden_bias.astype(np.float16),
        out=out.astype(np.float16), out_bias=out_bias.astype(np.float16),
    )  # fmt: skip
    size = options.out.stat().st_size
    print(f"{len(rows)} lines, {inputs.shape[1]} inputs, loss {network.loss_:.4f}, {size} bytes")


if __name__ == "__main__":
    main()
