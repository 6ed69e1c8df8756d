"""What every store must do: one suite, run over each store by a subclass with a ``store`` fixture."""

from __future__ import annotations

import multiprocessing
import pickle
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest

from manifests.errors import StoreError
from results.store import Created, Store

PATHS = [f"race/{number}" for number in range(8)]


def create_all(store: Store, who: str) -> list[str]:
    """The paths of the race that ``who`` got to create."""
    return [path for path in PATHS if store.create(path, who.encode()) is Created.CREATED]


def take_turns(store: Store, wins: int) -> int:
    """Add one to a counter ``wins`` times by optimistic replacement; how many attempts that took."""
    attempts = 0
    while wins:
        attempts += 1
        found = store.read("counter")
        assert found is not None
        if store.replace("counter", b"%d" % (int(found[0]) + 1), if_match=found[1]) is not None:
            wins -= 1
    return attempts


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(3, multiprocessing.get_context("spawn")) as pool:
        yield pool


def at_once(work: Callable[[int], object], count: int = 8) -> list[object]:
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(work, range(count)))


class StoreContract:
    def test_an_object_is_created_once(self, store: Store) -> None:
        assert store.create("claims/a", b"first") is Created.CREATED
        assert store.create("claims/a", b"second") is Created.EXISTS
        found = store.read("claims/a")
        assert found is not None and found[0] == b"first"

    def test_of_eight_threads_one_creates(self, store: Store) -> None:
        for number in range(2):
            path = f"deep/{number}/claim"
            answers = at_once(lambda i, path=path: store.create(path, b"%d" % i))  # type: ignore[misc]
            winner = answers.index(Created.CREATED)
            assert Counter(answers) == {Created.CREATED: 1, Created.EXISTS: 7}
            assert store.read(path) is not None and store.read(path)[0] == b"%d" % winner  # type: ignore[index]

    def test_of_several_processes_one_creates(self, store: Store, processes: ProcessPoolExecutor) -> None:
        won = dict(zip("abc", processes.map(create_all, [store] * 3, "abc"), strict=True))
        assert sorted(path for paths in won.values() for path in paths) == sorted(PATHS)
        for who, paths in won.items():
            assert all(store.read(path)[0] == who.encode() for path in paths)  # type: ignore[index]

    def test_of_eight_conditional_replaces_one_wins(self, store: Store) -> None:
        version = store.replace("claim", b"old")
        for turn in range(3):  # other bytes every time: equal bytes may keep their version
            answers = at_once(lambda i: store.replace("claim", b"%d-%d" % (turn, i), if_match=version))  # noqa: B023
            (won,) = [answer for answer in answers if answer is not None]
            assert store.read("claim") == (b"%d-%d" % (turn, answers.index(won)), won)
            version = str(won)

    def test_no_conditional_replace_is_lost_between_threads_and_processes(
        self, store: Store, processes: ProcessPoolExecutor
    ) -> None:
        store.create("counter", b"0")
        others = [processes.submit(take_turns, store, 2) for _ in range(3)]
        at_once(lambda _: take_turns(store, 2), 3)
        assert all(other.result() >= 2 for other in others)
        assert store.read("counter")[0] == b"12"  # type: ignore[index]

    def test_the_version_of_a_replace_is_that_of_a_read_and_of_the_listing(self, store: Store) -> None:
        first = store.replace("a", b"1")
        assert first is not None and store.read("a") == (b"1", first)
        second = store.replace("a", b"2", if_match=first)
        assert second not in (None, first)
        assert store.read("a") == (b"2", second)
        assert [(e.path, e.size, e.version) for e in store.list()] == [("a", 1, second)]

    def test_a_replace_with_a_stale_version_writes_nothing(self, store: Store) -> None:
        stale = store.replace("a", b"1")
        fresh = store.replace("a", b"2")
        assert store.replace("a", b"3", if_match=stale) is None
        assert store.read("a") == (b"2", fresh)

    def test_a_conditional_replace_of_nothing_writes_nothing(self, store: Store) -> None:
        assert store.replace("none", b"1", if_match="any") is None
        assert store.read("none") is None

    def test_what_is_not_there_reads_as_none(self, store: Store) -> None:
        store.create("a", b"")
        assert [store.read(p) for p in ("b", "b/c", "a/c")] == [None] * 3
        assert store.read_tail("b", 8) is None

    @pytest.mark.parametrize(
        ("size", "tail"), [(3, b"789"), (10, b"0123456789"), (99, b"0123456789"), (0, b"")]
    )
    def test_a_tail_is_the_last_bytes(self, store: Store, size: int, tail: bytes) -> None:
        store.create("a", b"0123456789")
        assert store.read_tail("a", size) == tail

    def test_an_empty_object_has_an_empty_tail(self, store: Store) -> None:
        store.create("a", b"")
        assert store.read_tail("a", 8) == b""
        assert store.read("a") is not None and store.read("a")[0] == b""  # type: ignore[index]

    def test_a_listing_is_sorted_by_whole_paths(self, store: Store) -> None:
        paths = ["a/b/c", "a-b", "a.md", "a/b.md", "b", "Ωμέγα/ά β+%#?.md", "a/b-c"]
        for path in paths:
            store.create(path, path.encode())
        assert [(e.path, e.size) for e in store.list()] == [(p, len(p.encode())) for p in sorted(paths)]

    def test_a_listing_takes_any_prefix(self, store: Store) -> None:
        for path in ("pages/a", "pages/ab/c", "pages/b", "pages2/a", "page"):
            store.create(path, b"x")
        found = {
            prefix: [e.path for e in store.list(prefix)] for prefix in ("pages/", "pages/a", "pages", "x/")
        }
        assert found == {
            "pages/": ["pages/a", "pages/ab/c", "pages/b"],
            "pages/a": ["pages/a", "pages/ab/c"],
            "pages": ["pages/a", "pages/ab/c", "pages/b", "pages2/a"],
            "x/": [],
        }
        assert list(store.list("page/")) == []

    def test_a_delete_is_final_and_may_be_repeated(self, store: Store) -> None:
        store.create("a/b/c", b"x")
        for _ in range(2):
            store.delete("a/b/c")
        assert list(store.list()) == []
        assert store.create("a/b/c", b"y") is Created.CREATED

    def test_creating_and_deleting_neighbours_at_once_loses_nothing(self, store: Store) -> None:
        def come_and_go(worker: int) -> None:
            for turn in range(3):
                path = f"partial/unit/{worker}-{turn}"
                assert store.create(path, b"x") is Created.CREATED
                store.delete(path)

        at_once(come_and_go)
        assert list(store.list()) == []

    def test_a_large_object_comes_back_whole(self, store: Store) -> None:
        data = bytes(range(256)) * 20_000
        store.create("large", data)
        assert store.read("large")[0] == data  # type: ignore[index]
        assert store.read_tail("large", 1000) == data[-1000:]

    def test_a_file_is_stored_as_bytes_are(self, store: Store) -> None:
        with store.scratch_file() as file:
            file.write_bytes(b"first")
            assert store.create_file("pages/a", file) is Created.CREATED
        with store.scratch_file() as file:
            file.write_bytes(b"second")
            assert store.create_file("pages/a", file) is Created.EXISTS
            version = store.read("pages/a")[1]  # type: ignore[index]
            assert store.replace_file("pages/a", file, if_match="stale") is None
            newer = store.replace_file("pages/a", file, if_match=version)
            assert store.read("pages/a") == (b"second", newer)
            file.write_bytes(b"of no object any more")
        assert not file.exists()
        assert [e.path for e in store.list()] == ["pages/a"]

    def test_of_eight_files_one_is_created(self, store: Store) -> None:
        def create(number: int) -> Created:
            with store.scratch_file() as file:
                file.write_bytes(b"%d" % number)
                return store.create_file("pages/a", file)

        answers = at_once(create)
        assert Counter(answers) == {Created.CREATED: 1, Created.EXISTS: 7}
        assert store.read("pages/a")[0] == b"%d" % answers.index(Created.CREATED)  # type: ignore[index]

    def test_an_object_is_read_as_a_file(self, store: Store) -> None:
        store.create("pages/a", b"rows")
        with store.local_file("pages/a") as file:
            assert file is not None and file.read_bytes() == b"rows"
        with store.local_file("pages/b") as file:
            assert file is None

    @pytest.mark.parametrize(
        "path", ["", "/a", "../a", "a/../b", "a//b", "a/", ".", "a\0b", ".tmp/a", "\ud800"]
    )
    def test_a_path_that_leaves_the_root_is_refused(self, store: Store, path: str) -> None:
        for call in (
            store.read,
            store.delete,
            lambda p: store.create(p, b""),
            lambda p: store.replace(p, b""),
        ):
            with pytest.raises(StoreError, match="no path inside the output"):
                call(path)

    def test_a_store_survives_pickling(self, store: Store) -> None:
        store.create("a", b"x")
        copy = pickle.loads(pickle.dumps(store))
        assert copy.root == store.root
        assert copy.read("a") == store.read("a")
