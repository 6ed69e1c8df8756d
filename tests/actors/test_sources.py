"""Finding documents: local files as they are, remote ones fetched once per node."""

import hashlib
import multiprocessing
import os
import pickle
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from actors.sources.cache import SourceCache, default_cache_dir
from manifests.documents import Document
from manifests.errors import DocumentError, JobError
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
