"""A store in memory whose every call can be held back: for claims between processes, step by step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from results.store import Created, Entry


class MemoryStore:
    """The ``Store`` protocol on a dictionary. ``before`` is told of each call before it takes effect.

    With ``heeds_conditions`` False it takes conditions and ignores them, like some S3 servers.
    """

    def __init__(
        self, before: Callable[[str, str], None] = lambda call, path: None, heeds_conditions: bool = True
    ) -> None:
        self.objects: dict[str, tuple[bytes, str]] = {}
        self.calls: Counter[str] = Counter()
        self.before = before
        self._heeds = heeds_conditions
        self._versions = 0

    @property
    def root(self) -> str:
        return "memory"

    def list(self, prefix: str = "") -> Iterator[Entry]:
        self._on_call("list", prefix)
        found = sorted((path, len(data), version) for path, (data, version) in self.objects.items())
        return iter([Entry(*item) for item in found if item[0].startswith(prefix)])

    def read(self, path: str) -> tuple[bytes, str] | None:
        self._on_call("read", path)
        return self.objects.get(path)

    def read_tail(self, path: str, size: int) -> bytes | None:
        self._on_call("read_tail", path)
        found = self.objects.get(path)
        return None if found is None else found[0][-size:]

    def create(self, path: str, data: bytes) -> Created:
        self._on_call("create", path)
        if path in self.objects and self._heeds:
            return Created.EXISTS
        self._put(path, data)
        return Created.CREATED

    def replace(self, path: str, data: bytes, if_match: str | None = None) -> str | None:
        self._on_call("replace", path)
        there = self.objects.get(path, (b"", ""))[1]
        if if_match is not None and if_match != there and self._heeds:
            return None
        return self._put(path, data)

    def delete(self, path: str) -> None:
        self._on_call("delete", path)
        self.objects.pop(path, None)

    def _on_call(self, call: str, path: str) -> None:
        self.calls[call] += 1
        self.before(call, path)

    def _put(self, path: str, data: bytes) -> str:
        self._versions += 1
        self.objects[path] = (data, str(self._versions))
        return str(self._versions)
