"""Finding documents: local files as they are, remote ones fetched once per node."""

import errno
import hashlib
import multiprocessing
import os
import pickle
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from actors.sources.cache import SourceCache, default_cache_dir
from manifests.blame import FolderGone
from manifests.documents import Document
from manifests.errors import DocumentError, JobError, SourceUnavailable
from manifests.identity import local_uri
from manifests.sources import SourceStat, local_version

ANY = 2**40


@dataclass(frozen=True)
class FolderSource:
    """Serves files of a folder as ``fake://name`` and logs each request to a file."""

    folder: Path
    pause_s: float = 0.0

    def _log(self, line: str) -> None:
        with (self.folder / "requests").open("a") as file:
            file.write(line + "\n")

    def _found(self, uri: str) -> Path:
        path = self.folder / uri.removeprefix("fake://")
        if not path.exists():
            raise DocumentError(f"{uri}: not found")
        return path

    def fetch(self, uri: str, target: Path) -> SourceStat:
        self._log(f"GET {uri}")
        data = self._found(uri).read_bytes()
        time.sleep(self.pause_s)
        target.write_bytes(data)
        return SourceStat(len(data), "etag-" + hashlib.md5(data).hexdigest())

    def stat(self, uri: str) -> SourceStat:
        self._log(f"HEAD {uri}")
        return SourceStat(self._found(uri).stat().st_size, "")

    def requests(self, method: str = "GET") -> int:
        log = self.folder / "requests"
        return log.read_text().count(method) if log.exists() else 0


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "remote"
    folder.mkdir()
    for name in "abcdefgh":
        (folder / name).write_bytes(name.encode() * 10_000)
    return FolderSource(folder)


def cache(tmp_path, source, max_bytes=2**30, run_key="run1"):
    return SourceCache(str(tmp_path / "cache"), max_bytes, {"fake": source}, run_key)


def remote(name="a", **fields):
    return Document(name, f"fake://{name}", **{"version": "v1", "size": 10_000, **fields})


def local(path, **fields):
    return Document("d", str(path), **fields)


def test_a_name_that_is_not_utf_8_is_found_by_its_bytes(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.pdf"))
    path.write_bytes(b"%PDF")
    located = SourceCache("", ANY, {}).locate(Document("a", local_uri(path)), ANY)
    assert (located.path, located.stat.size) == (path, 4)


def test_a_local_file_is_only_looked_at(tmp_path):
    path = tmp_path / "a.pdf"
    path.write_bytes(b"12345")
    located = SourceCache(str(tmp_path / "cache"), 1, {}).locate(local(path), ANY)
    assert located.path == path
    assert located.stat == SourceStat(5, local_version(5, path.stat().st_mtime_ns))
    assert not (tmp_path / "cache").exists()


def test_local_problems_are_named(tmp_path):
    finder = SourceCache(str(tmp_path / "cache"), 1, {})
    (tmp_path / "empty").touch()
    (tmp_path / "big").write_bytes(b"123456")
    os.mkfifo(tmp_path / "pipe")
    cases = {"none": "no such file", "": "is a directory", "empty": "is empty", "pipe": "not a regular file"}
    cases |= {"big": "6 bytes, more than the 5 allowed", "x" * 300: "name too long", "n\0n": "null byte"}
    for name, reason in cases.items():
        with pytest.raises(DocumentError, match=f"(?i){reason}"):
            finder.locate(local(f"{tmp_path}/{name}"), 5)


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_forbidden_file_is_named(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"1")
    path.chmod(0)
    with pytest.raises(DocumentError, match="permission denied"):
        SourceCache("", 1, {}).locate(local(path), ANY)


def test_a_remote_file_is_fetched_once_and_its_facts_are_kept(tmp_path, source):
    first = cache(tmp_path, source).locate(remote(), ANY)
    second = pickle.loads(pickle.dumps(cache(tmp_path, source))).locate(remote(), ANY)
    assert first == second
    assert first.path.read_bytes() == b"a" * 10_000
    assert first.stat.version.startswith("etag-")
    assert (source.requests("GET"), source.requests("HEAD")) == (1, 0)


def test_another_version_is_fetched_anew(tmp_path, source):
    finder = cache(tmp_path, source)
    paths = {finder.locate(remote(version=version), ANY).path for version in ("v1", "v2", "v1")}
    assert (len(paths), source.requests()) == (2, 2)


def test_an_unknown_version_is_fetched_once_per_run(tmp_path, source):
    for run_key in ("run1", "run1", "run2"):
        cache(tmp_path, source, run_key=run_key).locate(remote(version=""), ANY)
    assert source.requests() == 2


def locate_in_child(finder, barrier, answers):
    barrier.wait()
    answers.put(finder.locate(remote(size=0), ANY).path.read_bytes() == b"a" * 10_000)


def test_many_processes_asking_at_once_make_one_fetch(tmp_path, source):
    slow = FolderSource(source.folder, pause_s=0.3)
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(8), context.Queue()
    finder = cache(tmp_path, slow)
    children = [context.Process(target=locate_in_child, args=(finder, barrier, answers)) for _ in range(8)]
    for child in children:
        child.start()
    assert [answers.get(timeout=20) for _ in children] == [True] * 8
    for child in children:
        child.join()
    assert source.requests("GET") == 1
    assert not list((tmp_path / "cache").glob("*.lock")) + list((tmp_path / "cache").glob("*.part"))


def test_the_least_recently_used_are_evicted_and_bytes_stay_bounded(tmp_path, source):
    finder = cache(tmp_path, source, max_bytes=60_000)
    paths = {}
    for name in "abcdefgh":
        if "a" in paths:
            finder.locate(remote("a"), ANY)
        paths[name] = finder.locate(remote(name), ANY).path
        time.sleep(0.01)
        files = [path for path in (tmp_path / "cache").iterdir() if not path.suffix]
        assert sum(path.stat().st_size for path in files) <= 60_000
    assert paths["a"].exists() and paths["h"].exists() and not paths["b"].exists()
    assert source.requests() == 8


def test_the_one_just_fetched_is_kept_however_small_the_cache(tmp_path, source):
    finder = cache(tmp_path, source, max_bytes=1)
    for name in "abc":
        assert finder.locate(remote(name), ANY).path.exists()
    assert len([path for path in (tmp_path / "cache").iterdir() if len(path.name) == 64]) == 1


def test_what_a_killed_fetch_left_is_removed(tmp_path, source):
    finder = cache(tmp_path, source, max_bytes=15_000)
    finder.locate(remote("a"), ANY)
    stale = tmp_path / "cache" / ("0" * 64 + ".part")
    stale.write_bytes(b"x")
    finder.locate(remote("b"), ANY)
    assert not stale.exists()


def test_a_failed_fetch_leaves_nothing_and_may_be_tried_again(tmp_path, source):
    finder = cache(tmp_path, source)
    for _ in range(2):
        with pytest.raises(DocumentError, match="not found"):
            finder.locate(remote("none"), ANY)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_large_object_is_refused_before_it_is_fetched(tmp_path, source):
    for size in (10_000, 0):
        with pytest.raises(DocumentError, match="10,000 bytes, more than the 99 allowed"):
            cache(tmp_path, source).locate(remote(size=size), 99)
    assert (source.requests("GET"), source.requests("HEAD")) == (0, 1)


def test_an_unknown_scheme_is_named(tmp_path, source):
    with pytest.raises(DocumentError, match="cannot read gs:// addresses; known: fake://"):
        cache(tmp_path, source).locate(Document("d", "gs://bucket/a"), ANY)


@pytest.mark.parametrize("where", ["local", "remote"])
def test_sha256_is_checked_once_and_is_the_version(tmp_path, source, where, monkeypatch):
    right, calls, real = hashlib.sha256(b"a" * 10_000).hexdigest(), [], hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *args: calls.append(1) or real(*args))

    def document(digest):
        return local(source.folder / "a", sha256=digest) if where == "local" else remote(sha256=digest)

    for _ in range(2):
        assert cache(tmp_path, source).locate(document(right.upper()), ANY).stat.version == f"sha256:{right}"
    assert len(calls) == 1
    with pytest.raises(DocumentError, match=f"its sha256 is {right}, the manifest says 0000"):
        cache(tmp_path, source).locate(document("0" * 64), ANY)
    assert source.requests() == (where == "remote")


def test_a_cache_that_cannot_be_written_stops_the_job(tmp_path, source):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(JobError, match=r"set render\.cache_dir"):
        cache(tmp_path, source).locate(remote(), ANY)


def test_the_default_cache_is_private(tmp_path, source, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    SourceCache("", 2**30, {"fake": source}).locate(remote(), ANY)
    assert default_cache_dir() == tmp_path / f"pagefleet-cache-{os.getuid()}"
    assert default_cache_dir().stat().st_mode & 0o777 == 0o700


def found(folder, name="a.pdf"):
    """A document as a listing of its folder knew it."""
    path = folder / name
    status = path.stat()
    return local(path, size=status.st_size, version=local_version(status.st_size, status.st_mtime_ns))


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "in" / "deep"
    folder.mkdir(parents=True)
    for name in ("a.pdf", "b.pdf"):
        (folder / name).write_bytes(b"12345")
    return folder


@pytest.fixture
def local_finder(tmp_path):
    return SourceCache(str(tmp_path / "cache"), 1, {})


def lose(folder, how):
    """Take the folder away in one of the ways it goes; returns what brings it back."""
    aside = folder.parent.parent / "aside"
    if how == "renamed":
        folder.rename(aside)
        return lambda: aside.rename(folder)
    if how == "its parent renamed":
        parent = folder.parent.rename(aside)
        return lambda: parent.rename(folder.parent)
    folder.rename(aside)  # unmounted: the mount point stays, with nothing or only hidden names in it
    folder.mkdir()
    if how == "unmounted, with a hidden name":
        (folder / ".mounted-here").touch()

    def back():
        (folder / ".mounted-here").unlink(missing_ok=True)
        folder.rmdir()
        aside.rename(folder)

    return back


@pytest.mark.parametrize(
    "how", ["renamed", "its parent renamed", "unmounted", "unmounted, with a hidden name"]
)
def test_a_folder_that_is_gone_is_waited_for(tmp_path, folder, local_finder, how):
    document, other = found(folder), found(folder, "b.pdf")
    local_finder.locate(other, ANY)
    bring_back = lose(folder, how)
    for _ in range(3):
        with pytest.raises(SourceUnavailable, match=r"a\.pdf: no such file: its folder .* is (gone|empty)"):
            local_finder.locate(document, ANY)
    bring_back()
    assert local_finder.locate(document, ANY).stat.version == document.version


def test_a_file_that_is_gone_beside_others_is_a_fault_of_its_own(folder, local_finder):
    document = found(folder)
    (folder / "a.pdf").unlink()
    with pytest.raises(DocumentError, match=r"a\.pdf: no such file$"):
        local_finder.locate(document, ANY)


def test_a_folder_that_never_was_is_the_manifests_fault(folder, local_finder):
    with pytest.raises(DocumentError, match="no such file"):
        local_finder.locate(local(folder / "typo" / "a.pdf"), ANY)


@pytest.mark.parametrize("name", ["ESTALE", "EIO", "ENOTCONN", "ETIMEDOUT", "EACCES", "ENODEV", "EMFILE"])
def test_a_file_system_that_does_not_answer_is_waited_for(folder, local_finder, monkeypatch, name):
    document, number, real = found(folder), getattr(errno, name), os.stat

    def stat(path, *args, **kwargs):
        if str(path).startswith(str(folder)):
            raise OSError(number, os.strerror(number))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", stat)
    with pytest.raises(SourceUnavailable):
        local_finder.locate(document, ANY)
    monkeypatch.undo()
    assert local_finder.locate(document, ANY)


def forbid(monkeypatch, forbidden):
    real = os.open

    def refuse(path, *args, **kwargs):
        if forbidden(str(path)):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)


def test_a_file_that_may_not_be_read_beside_others_that_may_is_a_fault_of_its_own(
    folder, local_finder, monkeypatch
):
    forbid(monkeypatch, lambda path: path.endswith("a.pdf"))
    with pytest.raises(DocumentError, match=r"a\.pdf: permission denied"):
        local_finder.locate(found(folder), ANY)


def test_a_lone_file_that_may_not_be_read_is_measured_by_the_last_one_that_could(
    tmp_path, folder, local_finder, monkeypatch
):
    lone = tmp_path / "in" / "lone"
    lone.mkdir()
    (lone / "c.pdf").write_bytes(b"1")
    local_finder.locate(found(folder), ANY)
    forbid(monkeypatch, lambda path: path.endswith("c.pdf"))
    with pytest.raises(DocumentError, match=r"c\.pdf: permission denied"):
        local_finder.locate(found(lone, "c.pdf"), ANY)


def test_files_none_of_which_may_be_read_are_waited_for(folder, local_finder, monkeypatch):
    """So a ticket that has expired looks: everything can be listed and nothing opened."""
    local_finder.locate(found(folder, "b.pdf"), ANY)
    forbid(monkeypatch, lambda path: path.endswith(".pdf"))
    with pytest.raises(SourceUnavailable, match="permission denied: nothing in its folder"):
        local_finder.locate(found(folder), ANY)


def test_a_folder_that_comes_back_while_it_is_looked_at_blames_nobody(folder, local_finder, monkeypatch):
    document, real = found(folder), os.scandir
    aside = folder.rename(folder.parent / "aside")

    def scandir(path):
        if not folder.exists():
            aside.rename(folder)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert local_finder.locate(document, ANY).path == folder / "a.pdf"


@pytest.mark.parametrize("known", [True, False])
def test_a_prefix_that_is_gone_is_waited_for_only_by_what_was_listed_in_it(tmp_path, source, known):
    class Gone(FolderSource):
        def fetch(self, uri, target):
            raise FolderGone(f"{uri}: no such object")

    with pytest.raises(SourceUnavailable if known else DocumentError, match="no such object"):
        cache(tmp_path, Gone(source.folder)).locate(
            remote(**({} if known else {"version": "", "size": 0})), ANY
        )


@dataclass(frozen=True)
class SmallDisk(FolderSource):
    """A source whose fetches find the disk of the cache full beyond ``room`` bytes."""

    cache_folder: Path = Path()
    room: int = 0

    def fetch(self, uri, target):
        data = self._found(uri).read_bytes()
        size = sum(path.stat().st_size for path in self.cache_folder.iterdir() if len(path.name) == 64)
        if size + len(data) > self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().fetch(uri, target)


def small_disk(tmp_path, source, room):
    return cache(tmp_path, SmallDisk(source.folder, cache_folder=tmp_path / "cache", room=room))


def test_a_full_disk_evicts_older_entries_before_it_ends_anything(tmp_path, source):
    finder = small_disk(tmp_path, source, room=35_000)
    paths = {}
    for name in "abcdefgh":
        paths[name] = finder.locate(remote(name), ANY).path
        time.sleep(0.01)
    assert [name for name in paths if paths[name].exists()] == ["f", "g", "h"]
    assert source.requests() == 8


def test_a_document_that_fits_alone_is_read_on_a_full_disk(tmp_path, source):
    finder = small_disk(tmp_path, source, room=10_000)
    for name in "abcabc":
        assert finder.locate(remote(name), ANY).path.read_bytes() == name.encode() * 10_000


def test_a_disk_on_which_not_even_one_fits_is_waited_for(tmp_path, source):
    finder = small_disk(tmp_path, source, room=9_999)
    with pytest.raises(SourceUnavailable, match=r"No space left on device; .* set render\.cache_dir"):
        finder.locate(remote("a"), ANY)
    assert not list((tmp_path / "cache").glob("*.part"))
    assert small_disk(tmp_path, source, room=10_000).locate(remote("a"), ANY)


def test_facts_that_do_not_fit_evict_too(tmp_path, source, monkeypatch):
    finder = cache(tmp_path, source)
    first, real, failures = finder.locate(remote("a"), ANY).path, Path.write_text, []

    def write_text(path, *args, **kwargs):
        if path.suffix == ".facts" and not failures:
            failures.append(path)
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, *args, **kwargs)

    monkeypatch.setattr(Path, "write_text", write_text)
    assert finder.locate(remote("b"), ANY).path.exists()
    assert failures and not first.exists()


def locate_many(finder, names, barrier, answers):
    barrier.wait()
    wrong = 0
    for name in names:
        for _ in range(50):  # a located file may be evicted before it is opened: it is located again
            try:
                wrong += finder.locate(remote(name), ANY).path.read_bytes() != name.encode() * 10_000
                break
            except FileNotFoundError:
                continue
        else:
            wrong += 1
    answers.put(wrong)


def test_many_processes_on_a_small_cache_never_see_another_documents_bytes(tmp_path, source):
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(4), context.Queue()
    finder = cache(tmp_path, source, max_bytes=25_000)
    orders = ["abcdefgh" * 5, "hgfedcba" * 5, "aaggccee" * 5, "bdfhbdfh" * 5]
    children = [context.Process(target=locate_many, args=(finder, o, barrier, answers)) for o in orders]
    for child in children:
        child.start()
    assert [answers.get(timeout=60) for _ in children] == [0] * 4
    for child in children:
        child.join()
    files = [path for path in (tmp_path / "cache").iterdir() if len(path.name) == 64]
    assert sum(path.stat().st_size for path in files) <= 25_000 + 10_000
