"""Whose fault it is that a document cannot be had: the whole table, and what folders show."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from manifests.blame import Nearby, Symptom, is_documents_fault, local_symptom
from manifests.local_files import look_around

MISSING, DENIED = Symptom.MISSING, Symptom.DENIED
SEEN, GONE, EMPTY, UNREACHABLE = Nearby.SIBLING_SEEN, Nearby.FOLDER_MISSING, Nearby.EMPTY, Nearby.UNREACHABLE


@pytest.mark.parametrize(
    ("symptom", "nearby", "was_listed", "documents_fault"),
    [
        (MISSING, SEEN, True, True),
        (MISSING, SEEN, False, True),
        (MISSING, GONE, True, False),  # renamed, moved or unmounted while we read
        (MISSING, GONE, False, True),  # a manifest that names a folder that never was
        (MISSING, EMPTY, True, False),  # so an unmounted folder looks
        (MISSING, EMPTY, False, False),
        (MISSING, UNREACHABLE, True, False),
        (MISSING, UNREACHABLE, False, False),
        (DENIED, SEEN, True, True),
        (DENIED, SEEN, False, True),
        (DENIED, GONE, True, False),
        (DENIED, GONE, False, False),
        (DENIED, EMPTY, True, False),
        (DENIED, EMPTY, False, False),
        (DENIED, UNREACHABLE, True, False),
        (DENIED, UNREACHABLE, False, False),
        *((Symptom.MALFORMED, nearby, listed, True) for nearby in Nearby for listed in (True, False)),
        *((Symptom.OUTAGE, nearby, listed, False) for nearby in Nearby for listed in (True, False)),
    ],
)
def test_a_document_is_blamed_only_beside_others_that_can_be_had(
    symptom: Symptom, nearby: Nearby, was_listed: bool, documents_fault: bool
) -> None:
    assert is_documents_fault(symptom, nearby, was_listed) is documents_fault


@pytest.mark.parametrize(
    ("number", "symptom"),
    [
        (errno.ENOENT, Symptom.MISSING),
        (errno.ENOTDIR, Symptom.MISSING),
        (errno.ENAMETOOLONG, Symptom.MALFORMED),
        (errno.ELOOP, Symptom.MALFORMED),
        *(
            (number, Symptom.OUTAGE)
            for number in (
                *(errno.ESTALE, errno.EIO, errno.ENOTCONN, errno.ETIMEDOUT, errno.EACCES, errno.EPERM),
                *(errno.EHOSTDOWN, errno.ENETUNREACH, errno.ENODEV, errno.EMFILE, errno.ENOMEM, 9999),
            )
        ),
    ],
)
def test_an_error_of_looking_up_a_path_is_an_outage_unless_known_better(
    number: int, symptom: Symptom
) -> None:
    assert local_symptom(OSError(number, os.strerror(number))) is symptom


def test_a_folder_is_looked_at_past_hidden_names(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    (folder / ".keep").touch()
    assert look_around(folder / "x.pdf") is EMPTY
    (folder / "x.pdf").touch()
    assert look_around(folder / "x.pdf") is EMPTY  # itself is no witness
    (folder / "y.pdf").touch()
    assert look_around(folder / "x.pdf") is SEEN
    assert look_around(folder / "x.pdf", lambda path: False) is UNREACHABLE
    assert look_around(folder / "x.pdf", lambda path: path.endswith("y.pdf")) is SEEN
    assert look_around(tmp_path / "none" / "deep" / "x.pdf") is GONE
    (tmp_path / "a" / "file").touch()
    assert look_around(tmp_path / "a" / "file" / "x.pdf") is GONE
    (tmp_path / "hollow").mkdir()
    assert look_around(tmp_path / "hollow" / "none" / "x.pdf") is EMPTY


def test_a_folder_that_does_not_answer_is_unreachable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stale(path: object) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(os, "scandir", stale)
    assert look_around(tmp_path / "x.pdf") is UNREACHABLE
