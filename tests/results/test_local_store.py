"""The local store: the contract of all stores, and what only a file system can do wrong."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from manifests.errors import StoreError
from results.local_store import LocalStore
from results.store import Created
from tests.store_contract import StoreContract, processes

__all__ = ["processes"]


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "out")


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB, where this machine lets us mount one."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def left_behind(store: LocalStore) -> list[str]:
    return [file.name for file in Path(store.root, ".tmp").glob("*") if file.name != "lock"]


class TestContract(StoreContract):
    @pytest.fixture(autouse=True)
    def nothing_temporary_stays(self, store: LocalStore) -> Iterator[None]:
        yield
        assert left_behind(store) == []


def test_a_delete_takes_the_folders_it_empties_and_never_the_root(store: LocalStore) -> None:
    store.create("a/b/c", b"x")
    store.create("a/d", b"x")
    store.delete("a/b/c")
    root = Path(store.root)
    assert (root / "a").is_dir() and not (root / "a/b").exists()
    store.delete("a/d")
    assert root.is_dir() and not (root / "a").exists()


def test_a_create_survives_its_folder_vanishing(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    link, vanished = os.link, []

    def vanish_once(source: Path, target: Path) -> None:
        if not vanished:
            vanished.append(target)
            target.parent.rmdir()
        link(source, target)

    monkeypatch.setattr(os, "link", vanish_once)
    assert store.create("a/b", b"x") is Created.CREATED
    assert vanished and store.read("a/b") is not None


def test_a_link_whose_answer_was_lost_is_ours(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def repeat(source: Path, target: Path) -> None:
        link(source, target)
        link(source, target)

    monkeypatch.setattr(os, "link", repeat)
    assert store.create("a", b"x") is Created.CREATED


def test_equal_bytes_written_twice_differ_in_version(store: LocalStore) -> None:
    assert len({store.replace("a", b"x") for _ in range(50)}) == 50


def test_a_relative_root_means_the_same_folder_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = LocalStore("out")
    store.create("a", b"x")
    monkeypatch.chdir("/")
    assert pickle.loads(pickle.dumps(store)).read("a") is not None
    assert store.root == "out"


def test_a_full_disk_is_explained_and_leaves_nothing_behind(mounted: Path) -> None:
    store = LocalStore(mounted)
    store.create("kept", b"x")
    for write in (store.create, store.replace):
        with pytest.raises(StoreError, match=r"no space left on .*/big: free space and run the same command"):
            write("big", bytes(1 << 20))
    assert left_behind(store) == []
    assert [entry.path for entry in store.list()] == ["kept"]
    assert store.create("next", b"y") is Created.CREATED


def test_a_read_only_file_system_is_explained_and_still_read(mounted: Path) -> None:
    store = LocalStore(mounted)
    store.create("kept", b"x")
    subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
    for write in (lambda: store.create("a", b""), lambda: store.delete("kept")):
        with pytest.raises(StoreError, match=r"read-only file system at .*: mount it writable"):
            write()
    assert store.read("kept") is not None
    assert store.create("kept", b"y") is Created.EXISTS


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "no space left on .*/a: free space and run the same command again"),
        (errno.EACCES, "no permission for .*/a: grant this user access"),
        (errno.EDQUOT, "quota"),
        (errno.ENODATA, "cannot use .*/a: No data available: check the output folder"),
    ],
)
def test_an_error_of_the_disk_says_what_to_do(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, number: int, message: str
) -> None:
    def fail(fd: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    Path(store.root, ".tmp").mkdir(parents=True)
    for write in (store.create, store.replace):
        with pytest.raises(StoreError, match=message) as caught:
            write("a", b"x")
    assert pickle.loads(pickle.dumps(caught.value)).args == caught.value.args
    monkeypatch.undo()
    assert left_behind(store) == []
    assert store.read("a") is None


def test_a_file_system_without_hard_links_is_named(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(StoreError, match=r"has no hard links.*: put the output on"):
        store.create("a", b"x")


def test_files_and_folders_in_the_way_are_explained(store: LocalStore, tmp_path: Path) -> None:
    store.create("file", b"x")
    store.create("folder/a", b"x")
    for write in (store.create, store.replace):
        with pytest.raises(StoreError, match=r"a file stands where .* needs a folder"):
            write("file/below", b"y")
        with pytest.raises(StoreError, match=r"a folder stands at .* where a file belongs"):
            write("folder", b"y")
        with pytest.raises(StoreError, match="name too long"):
            write("n" * 300, b"y")
    assert store.read("folder") is None
    store.delete("folder")
    assert store.read("folder/a") is not None
    with pytest.raises(StoreError, match=r"a file stands where"):
        list(LocalStore(tmp_path / "out" / "file").list())


def test_a_pipe_in_the_place_of_an_object_is_refused_and_never_waited_for(store: LocalStore) -> None:
    store.create("file", b"x")
    os.mkfifo(Path(store.root, "job.json"))
    for read in (lambda: store.read("job.json"), lambda: store.read_tail("job.json", 10)):
        with pytest.raises(StoreError, match=r"job\.json: is a pipe, not a regular file"):
            read()


def test_sweep_takes_only_old_temporary_files(store: LocalStore) -> None:
    version = store.replace("a", b"x")
    store.replace("a", b"y", if_match=version)
    temporary = Path(store.root, ".tmp")
    old, young = temporary / "1-old", temporary / "2-young"
    for file in (old, young):
        file.write_bytes(b"half")
    long_ago = time.time() - 7200
    for file in (old, temporary / "lock"):
        os.utime(file, (long_ago, long_ago))
    assert store.sweep() == 1
    assert sorted(file.name for file in temporary.iterdir()) == ["2-young", "lock"]
    assert LocalStore(temporary / "none").sweep() == 0
