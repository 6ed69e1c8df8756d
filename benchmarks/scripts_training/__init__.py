r"""How the weights of ``actors.scripts.judge`` were made: draw lines, let RapidOCR read them, fit.

Needs ``pip install babel wordfreq scikit-learn pymupdf-fonts`` and the Debian packages fonts-noto-core,
fonts-noto-cjk, fonts-liberation, fonts-freefont-ttf, fonts-nanum, fonts-ipafont, fonts-arphic-uming and
fonts-sil-ezra beside pagefleet, and Pillow with libraqm for Arabic and Indic shaping::

    python -m benchmarks.scripts_training.collect --seed 1 --lines 5000 --out train.jsonl
    python -m benchmarks.scripts_training.collect --seed 2 --lines 3000 --held-out --out test.jsonl
    python -m benchmarks.scripts_training.fit train.jsonl --out actors/scripts/data/scripts.npz \
        --least 10
    python -m benchmarks.scripts_training.evaluate test.jsonl
    python -m benchmarks.scripts_training.pages --seed 3 --pages 60
    python -m benchmarks.scripts_training.fixtures

The weights in the repository are of 4,709 lines, so collected with seeds 1 and 11; a new run gives others.
Training and held-out lines share neither a font nor, where a script has more than one, a language.
"""
