"""Which rows of an output are meant: to be read again, counted or shown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from results.rows import Status
from results.unit_files import Footer


@dataclass(frozen=True, slots=True)
class Selection:
    """Rows that meet every condition given; one that is left empty is met by all.

    ``statuses`` and ``fingerprints`` name what a row's may be, ``flags`` of which it must have one,
    ``reason`` a part of its reason. ``where`` is any condition on the columns, such as
    ``pc.field("mean_confidence") < 0.8``, and needs those in ``columns``.
    """

    statuses: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    reason: str = ""
    fingerprints: tuple[str, ...] = ()
    where: pc.Expression | None = None
    columns: tuple[str, ...] = ()

    @property
    def needs(self) -> list[str]:
        """The columns that tell which rows are meant."""
        conditions = {
            "status": self.statuses,
            "flags": self.flags,
            "reason": self.reason,
            "fingerprint": self.fingerprints,
        }
        return list(dict.fromkeys([*(name for name, given in conditions.items() if given), *self.columns]))

    def may_meet(self, footer: Footer) -> bool:
        """Whether a unit can hold such rows, by its footer alone."""
        counted = (
            (self.statuses, footer.counts),
            (self.flags, footer.flags),
            (self.fingerprints, footer.fingerprints or dict.fromkeys(self.fingerprints, 1)),
        )
        return all(not names or any(counts.get(name) for name in names) for names, counts in counted)

    def of(self, table: pa.Table) -> pa.Table:
        """The rows meant."""
        for name, values in (("status", self.statuses), ("fingerprint", self.fingerprints)):
            if values:
                table = table.filter(pc.is_in(table.column(name), value_set=pa.array(values, pa.string())))
        if self.reason:
            table = table.filter(pc.match_substring(table.column("reason"), self.reason))
        if self.flags:
            table = table.filter(pa.array(_flagged(table, self.flags)))
        return table if self.where is None else table.filter(self.where)


def _flagged(table: pa.Table, flags: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    column = table.column("flags").combine_chunks()
    parents = np.asarray(pc.list_parent_indices(column))
    meant = np.asarray(pc.is_in(pc.list_flatten(column), value_set=pa.array(flags, pa.string())))
    found = np.zeros(table.num_rows, dtype=np.bool_)
    found[parents[meant.astype(bool)]] = True
    return found


EVERYTHING = Selection()
FAILED = Selection(statuses=(Status.FAILED,))
