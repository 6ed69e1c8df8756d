"""What an output holds, by one listing: sealed units, generations under way, and what is left over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from results.store import Store
from results.unit_files import clear_partials, list_open, list_sealed, read_footer


@dataclass(slots=True)
class OutputListing:
    """Sealed files with their versions, and the newest generation under way of each unit.

    ``over`` are generations whose unit was sealed since. Nothing is changed here: ``clear`` does that,
    for whoever has the claim of the output.
    """

    sealed: dict[str, str]
    open: dict[str, int]
    over: dict[str, int] = field(default_factory=dict)

    @classmethod
    def take(cls, store: Store) -> OutputListing:
        """List the output: what is under way first, so that a unit which another process seals at this
        moment is seen in one place or the other."""
        under_way = list_open(store)
        listing = cls({unit_id: entry.version for unit_id, entry in list_sealed(store)}, {})
        for found in under_way:
            footer = read_footer(store, found.unit_id) if found.unit_id in listing.sealed else None
            into = listing.over if footer and footer.generation >= found.generation else listing.open
            into[found.unit_id] = max(found.generation, into.get(found.unit_id, 0))
        return listing

    def __contains__(self, unit_id: str) -> bool:
        return unit_id in self.sealed or unit_id in self.open

    def without(self, strays: Iterable[str]) -> OutputListing:
        """The same without units under way that are nobody's."""
        nobodys = set(strays)
        still = {unit_id: number for unit_id, number in self.open.items() if unit_id not in nobodys}
        return OutputListing(self.sealed, still, self.over)


def clear(store: Store, generations: Mapping[str, int]) -> None:
    """Delete what lies under ``partial/`` of these units' generations: sealed since, or nobody's."""
    for unit_id, generation in generations.items():
        clear_partials(store, unit_id, generation)
