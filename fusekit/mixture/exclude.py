"""Which labeled identities a recipe leaves out, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fusekit.cards.checking import nearest
from fusekit.errors import RecipeError
from fusekit.mixture.evidence import damaged, told_of
from fusekit.schema import IDENTITIES_SCHEMA
from fusekit.store import layout
from fusekit.store.tables import read_table
from fusekit.store.tombstones import is_forgotten

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fusekit.mixture.candidates import Candidates
    from fusekit.mixture.rules import Exclude
    from fusekit.storage.folder import Storage
    from fusekit.store.datasets import DatasetInfo
    from fusekit.store.findings import Finding

LISTED: Final = "named by the recipe"
TWO_PEOPLE: Final = "its class holds two people"
_COLUMNS: Final = (
    "dataset", "identity", "identity_index", "evaluation", "reason", "decision",
)  # fmt: skip


@dataclass(frozen=True)
class Removed:
    """An identity that is not in a mixture.

    Attributes:
        dataset: Its dataset.
        identity: The person as the dataset names them.
        reason: Why, one line.
    """

    dataset: str
    identity: str
    reason: str

    def as_json(self) -> dict[str, Any]:
        """Give it as ``mixture.json`` holds it."""
        return vars(self)


def find_excluded(
    storage: Storage,
    asked: Exclude | None,
    infos: Sequence[DatasetInfo],
    contamination: Finding | None,
    origin: str,
) -> dict[str, dict[int, str]]:
    """Find whom a recipe leaves out.

    Args:
        storage: The store.
        asked: What the recipe says; None: nobody.
        infos: The labeled datasets.
        contamination: The finding that ``evaluation`` goes by.
        origin: The recipe, for messages.

    Returns:
        Dataset to identity index to reason, both ascending.

    Raises:
        RecipeError: A dataset has no identity of a name.
        FindingError: The finding is damaged, or names identities that a dataset does not have.
    """
    if asked is None:
        return {}
    reasons: dict[str, dict[int, list[str]]] = {info.name: {} for info in infos}
    for info in infos:
        for index in _listed(storage, info, asked.identities.get(info.name, ()), origin):
            reasons[info.name].setdefault(index, []).append(LISTED)
    if contamination is not None:
        _add_contaminated(storage, asked, infos, contamination, reasons)
    return {
        name: {index: "; ".join(said) for index, said in sorted(mine.items())}
        for name, mine in reasons.items()
    }


def exclude(rows: Candidates, excluded: Mapping[int, str]) -> None:
    """Take every row of the identities that are left out."""
    rows.take("exclude", np.isin(rows.identities, np.fromiter(excluded, np.int32)))


def name_removed(storage: Storage, info: DatasetInfo, reasons: Mapping[int, str]) -> list[Removed]:
    """Name identities of a dataset and the reasons for which they are left out.

    Args:
        storage: The store.
        info: The dataset.
        reasons: Identity index to reason.
    """
    if not reasons:
        return []
    people = read_table(storage, layout.identities(info.name), IDENTITIES_SCHEMA, ["identity"])
    names = people["identity"].take(pa.array(list(reasons))).to_pylist()
    return [
        Removed(info.name, name, reason)
        for name, reason in zip(names, reasons.values(), strict=True)
    ]


def _listed(storage: Storage, info: DatasetInfo, wanted: Sequence[str], origin: str) -> list[int]:
    if not wanted:
        return []
    people = read_table(storage, layout.identities(info.name), IDENTITIES_SCHEMA)["identity"]
    found = pc.index_in(pa.array(wanted), value_set=people.combine_chunks())
    for name, index in zip(wanted, found.to_pylist(), strict=True):
        if index is None:
            where = f"{origin}: exclude.identities.{info.name}"
            fix = _likely(name, people.to_pylist())
            raise RecipeError(where, f"no identity is named {name!r}", None, fix)
    indexes: list[int] = found.to_pylist()
    return indexes


def _likely(name: str, people: Sequence[str]) -> str | None:
    """Say what a name that nobody has may be: misspelled, or of someone who was erased."""
    near = nearest(name, [text for text in people if not is_forgotten(text)])
    if any(map(is_forgotten, people)):
        meant = f"did you mean {near!r}? " if near else ""
        return f"{meant}if fusekit forget erased them, take the name out"
    return f"did you mean {near!r}?" if near else None


def _add_contaminated(
    storage: Storage,
    asked: Exclude,
    infos: Sequence[DatasetInfo],
    finding: Finding,
    reasons: dict[str, dict[int, list[str]]],
) -> None:
    table = told_of(storage, finding, _COLUMNS)
    taken = ["same", "unsure"] if asked.unsure == "drop" else ["same"]
    chosen = pc.and_(
        pc.is_in(table["evaluation"], pa.array(asked.evaluation, pa.string())),
        pc.is_in(table["decision"], pa.array(taken)),
    )
    chosen = pc.and_(chosen, pc.not_equal(table["identity"], ""))  # an erased person's row
    known = {info.name: info.identities for info in infos}
    for row in table.filter(chosen).to_pylist():
        if row["dataset"] not in known:
            continue  # the finding may speak of more
        index = row["identity_index"]
        if not 0 <= index < known[row["dataset"]]:
            raise damaged(finding, f"names identity {index}, which {row['dataset']} does not have")
        unsure = ", unsure" if row["decision"] == "unsure" else ""
        said = reasons[row["dataset"]].setdefault(index, [])
        reason = f"in {row['evaluation']} ({row['reason']}{unsure})"
        if reason not in said:
            said.append(reason)
