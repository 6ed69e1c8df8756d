"""``python -m jobs.ocr INPUT… -o OUT``: the ``ocr`` command where only a checkout is at hand."""

from jobs.cli.entry import run_command

if __name__ == "__main__":
    run_command("ocr")
