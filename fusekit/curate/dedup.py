"""Find copies of one picture, inside a dataset and between datasets."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from fusekit.curate import crop_quality, near_copies, perceptual_hash, registration
from fusekit.curate.copy_groups import Components, Group, make_groups
from fusekit.curate.crop_quality import QUALITY_COLUMNS, quality
from fusekit.curate.embeddings import open_embeddings
from fusekit.curate.exact_copies import find_exact
from fusekit.curate.names import names_match, person_name
from fusekit.curate.near_copies import CORRELATION, FALSE_MATCH, Looks, find_near, open_looks
from fusekit.curate.numbered_rows import CropReader, NumberedRows
from fusekit.curate.perceptual_hash import HASH_BITS, distances, hash_crops
from fusekit.engines.local import default_workers
from fusekit.errors import UsageError
from fusekit.progress import Report, silent
from fusekit.schema import DUPLICATES_SCHEMA, IDENTITIES_SCHEMA
from fusekit.store import layout
from fusekit.store.datasets import open_dataset
from fusekit.store.findings import write_finding
from fusekit.store.tables import read_table

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from fusekit.curate.numbered_rows import Rows

DEFAULT_DISTANCE: Final = 23
"""Bits of 128: the most for which eight substrings of 16 bits are searched two flips wide."""
LARGEST_DISTANCE: Final = 40
_KIND: Final = "duplicates"
_COLUMNS: Final = ["key", "kind", "identity", "identity_index", "content_digest", *QUALITY_COLUMNS]
# Which copy stays: a test set is never thinned out, and a label is worth more than pixels.
_KINDS: Final = {"evaluation": 0, "labeled": 1, "unlabeled": 2}


@dataclass(frozen=True)
class Conflict:
    """Two copies of one picture under two people.

    Attributes:
        datasets: Of the two.
        identities: What each says.
        keys: The two samples.
    """

    datasets: tuple[str, str]
    identities: tuple[str, str]
    keys: tuple[str, str]


@dataclass(frozen=True)
class DedupResult:
    """What copies there are; nothing is deleted.

    Attributes:
        datasets: Those looked at, in the order given.
        samples: Of all of them, erased ones too.
        exact: Copies beyond one of each picture, by their bytes.
        near: Further copies beyond one of each picture, by their looks.
        dropped: Copies that a mixture leaves out; the others wait for a person.
        conflicts: Copies of one picture under two people.
        between: Datasets of a best copy and of another one, to how many there are.
        cosine: The threshold for one person; None: only bytes were compared.
        candidates: Pairs whose hashes are near.
        finding: Fingerprint of the finding.
        seconds: Of this run.
    """

    datasets: tuple[str, ...]
    samples: int
    exact: int
    near: int
    dropped: int
    conflicts: tuple[Conflict, ...]
    between: dict[tuple[str, str], int]
    cosine: float | None
    candidates: int
    finding: str
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Give it as the object that ``fusekit dedup --json`` prints."""
        return {
            "exact": self.exact, "near": self.near,
            "conflicts": [list(conflict.keys) for conflict in self.conflicts],
            "samples": self.samples, "dropped": self.dropped,
            "between": [
                {"best": best, "copy": copy, "copies": count}
                for (best, copy), count in self.between.items()
            ],
            "finding": self.finding,
        }  # fmt: skip


@dataclass(frozen=True)
class _Copies:
    """Rows that are copies of any other, and what is known of each."""

    numbered: NumberedRows
    at: dict[int, int]  # row to its place in the columns
    columns: dict[str, list[Any]]
    datasets: list[str]
    people: list[str | None]  # names by which datasets know them
    rank: dict[int, int]  # 0 is the best
    quality: list[float]

    def value(self, name: str, row: int) -> Any:  # noqa: ANN401 - of any column
        return self.columns[name][self.at[row]]

    def dataset(self, row: int) -> str:
        return self.datasets[self.at[row]]


def find_duplicates(
    datasets: Sequence[str],
    *,
    near: bool = True,
    distance: int = DEFAULT_DISTANCE,
    embedder: str | None = None,
    store: str | os.PathLike[str] | None = None,
    report: Report = silent,
) -> DedupResult:
    """Find the samples that show one picture, and which of them is the best.

    Exact copies have the same bytes: of the raw item, or of the stored crop. Near copies differ
    in few bits of a perceptual hash (mirror images count as copies), show one person by their
    embeddings, and lie on each other after an affine map. Of each group the best copy stays: of
    a test set, else of a labeled dataset, else the one of the highest
    :func:`~fusekit.curate.crop_quality.quality`. Copies under two identities of one dataset are
    left for a person to decide. The result is a finding; missing embeddings are made first.

    Args:
        datasets: Names in the store, of any kind; of equally good copies the first one's stays.
        near: Look for near copies too.
        distance: Most bits of 128 in which hashes of copies differ, 0 to 40. Up to 15 is many
            times faster, and misses copies that were aligned otherwise.
        embedder: Registry name, ``insightface/PACK`` or path; None takes the one whose
            embeddings stand, else dlib's ResNet.
        store: Path of the store; None takes ``$FUSEKIT_STORE``, else ``./fusekit-store``.
        report: Told of progress.

    Returns:
        The counts, by pair of datasets too, and the conflicts.

    Raises:
        UsageError: No dataset, one twice, or a distance that can't be.
        StoreError: A dataset is not ingested, a crop is damaged, or embeddings of several models
            stand.
        ModelError: The embedder can't be had.
        WorkError: Crops could not be embedded.
        StorageError: A table is damaged, or can't be written.
    """
    started = time.monotonic()
    _check(datasets, distance)
    storage = layout.open_store(store)
    infos = [open_dataset(storage, name) for name in datasets]
    numbered = NumberedRows.of(storage, infos)
    pairs = find_exact(storage, infos, numbered.first_rows[:-1])
    exact = _classes(pairs)
    about: dict[str, Any] = {
        "datasets": list(datasets), "inputs": {d.name: d.fingerprint for d in infos},
        "near": near, "quality": crop_quality.VERSION,
    }  # fmt: skip
    cosine, candidates = None, 0
    if near:
        sets = open_embeddings(storage, infos, embedder, None, report)
        with open_looks(numbered, sets, default_workers(), report) as looks:
            found = find_near(looks, distance, exact, report)
            copies = _read_copies(numbered, [*exact, *found.pairs])
            groups = make_groups(exact, found.pairs, copies.rank.__getitem__, _checker(looks))
            table = _table(groups, copies, pairs, looks)
        cosine, candidates = looks.cosine, found.candidates
        about |= {
            "model": asdict(sets[0].model), "distance": distance, "cosine": cosine,
            "false_match": FALSE_MATCH, "correlation": CORRELATION,
            "hash": perceptual_hash.VERSION, "registration": registration.VERSION,
            "near_version": near_copies.VERSION,
        }  # fmt: skip
    else:
        copies = _read_copies(numbered, exact)
        groups = make_groups(exact, (), copies.rank.__getitem__, lambda _a, _b: False)
        table = _table(groups, copies, pairs, None)
    finding = write_finding(storage, _KIND, about, table, DUPLICATES_SCHEMA, read=infos)
    sizes = [[len(rows) for rows in group.classes] for group in groups]
    return DedupResult(
        datasets=tuple(datasets), samples=numbered.first_rows[-1],
        exact=sum(sum(each) - len(each) for each in sizes),
        near=sum(len(each) - 1 for each in sizes),
        dropped=table.column("decision").to_pylist().count("drop"),
        conflicts=tuple(c for group in groups for c in _conflicts(group, copies)),
        between=_between(groups, copies, datasets), cosine=cosine, candidates=candidates,
        finding=finding.fingerprint, seconds=time.monotonic() - started,
    )  # fmt: skip


def _check(datasets: Sequence[str], distance: int) -> None:
    if not datasets:
        raise UsageError("dedup", "names no dataset", "one or more")
    if len(set(datasets)) < len(datasets):
        raise UsageError("dedup", f"names a dataset twice: {', '.join(datasets)}", "each once")
    if not 0 <= distance <= LARGEST_DISTANCE:
        found = f"{distance} of {HASH_BITS} bits"
        raise UsageError("--distance", found, f"0 to {LARGEST_DISTANCE}")


def _classes(pairs: dict[str, Rows]) -> list[list[int]]:
    connected = Components()
    for found in pairs.values():
        for a, b in found.tolist():
            connected.add(a, b)
    return connected.members()


def _read_copies(numbered: NumberedRows, groups: Sequence[Sequence[int]]) -> _Copies:
    rows = np.unique(np.array([row for group in groups for row in group], np.int64))
    table = numbered.take(rows, _COLUMNS)
    columns = {name: table.column(name).to_pylist() for name in _COLUMNS[:5]}
    which = numbered.dataset_of(rows).tolist()
    grades = quality(table).tolist()
    order = sorted(
        range(len(rows)),
        key=lambda i: (_KINDS[columns["kind"][i]], -grades[i], which[i], columns["key"][i]),
    )
    names = [_display_names(numbered, at) for at in range(len(numbered.infos))]
    people = [
        None if identity is None else person_name(identity, names[k].get(index))
        for k, identity, index in zip(
            which, columns["identity"], columns["identity_index"], strict=True
        )
    ]
    numbers = rows.tolist()
    return _Copies(
        numbered=numbered, at={row: i for i, row in enumerate(numbers)}, columns=columns,
        datasets=[numbered.infos[k].name for k in which], people=people,
        rank={numbers[i]: place for place, i in enumerate(order)}, quality=grades,
    )  # fmt: skip


def _display_names(numbered: NumberedRows, at: int) -> dict[int, str | None]:
    info = numbered.infos[at]
    if not info.identities:
        return {}
    table = read_table(
        numbered.storage, layout.identities(info.name), IDENTITIES_SCHEMA,
        ["identity_index", "name"],
    )  # fmt: skip
    return dict(zip(*(table.column(c).to_pylist() for c in (0, 1)), strict=True))


def _checker(looks: Looks) -> Callable[[int, int], bool]:
    def check(best: int, other: int) -> bool:
        ends = np.array([best, other])
        return bool(looks.same_picture(ends[:1], ends[1:])[0])

    return check


def _table(
    groups: Sequence[Group], copies: _Copies, pairs: dict[str, Rows], looks: Looks | None
) -> pa.Table:
    by_source = set(pairs["source"].ravel().tolist())
    rows, best, match, number, leads = [], [], [], [], []
    for group, each in enumerate(groups):
        top = each.classes[0][0]
        for place, members in enumerate(each.classes):
            for row in members:
                # The best of bytes that occur again is near its group's best, the others are its.
                near = row == members[0] and (place > 0 or len(members) == 1)
                rows.append(row)
                best.append(top)
                number.append(group)
                leads.append(row == top)
                match.append("near" if near else "source" if row in by_source else "content")
    conflict = [bool(_conflicts(group, copies)) for group in groups]
    unsure = [_inside(group, copies) for group in groups]
    order = np.array(rows, np.int64), np.array(best, np.int64)
    bits, cosines = _compare(copies, *order, match, looks)
    return pa.table(
        {
            "group": number,
            "dataset": [copies.dataset(row) for row in rows],
            "key": [copies.value("key", row) for row in rows],
            "identity": [copies.value("identity", row) for row in rows],
            "match": match,
            "distance": bits,
            "cosine": cosines,
            "quality": [copies.quality[copies.at[row]] for row in rows],
            "best": leads,
            "conflict": [conflict[g] for g in number],
            "decision": [
                _decide(unsure=unsure[g], best=lead, kind=copies.value("kind", row))
                for g, lead, row in zip(number, leads, rows, strict=True)
            ],
        },
        schema=DUPLICATES_SCHEMA,
    )


def _decide(*, unsure: bool, best: bool, kind: str) -> str:
    if best or kind == "evaluation":
        return "unsure" if unsure else "keep"
    return "unsure" if unsure else "drop"


def _compare(
    copies: _Copies, rows: Rows, best: Rows, match: list[str], looks: Looks | None
) -> tuple[list[int], list[float | None]]:
    """Give how far each copy is from its best: bits, and the cosine where bytes differ."""
    if looks is not None:
        codes = looks.hashes.codes
        bits = distances(codes[rows], codes[best]).tolist()
        cosines = looks.cosines(rows, best).tolist()
        return bits, [c if how == "near" else None for c, how in zip(cosines, match, strict=True)]
    digests = {row: copies.value("content_digest", row) for row in copies.at}
    other = [digests[a] != digests[b] for a, b in zip(rows.tolist(), best.tolist(), strict=True)]
    asked = np.unique(np.concatenate([rows[other], best[other]]))
    crops = CropReader(copies.numbered, asked)
    hashes = {row: hash_crops(crops(row)[None]).codes for row in asked.tolist()}
    return [
        int(distances(hashes[a], hashes[b])[0]) if apart else 0
        for a, b, apart in zip(rows.tolist(), best.tolist(), other, strict=True)
    ], [None] * len(rows)


def _conflicts(group: Group, copies: _Copies) -> list[Conflict]:
    """List pairs of copies under two people, one for each two identities."""
    people: dict[tuple[str, str], int] = {}
    for row in (row for rows in group.classes for row in rows):
        identity = copies.value("identity", row)
        if identity is not None:
            people.setdefault((copies.dataset(row), identity), row)
    named = sorted(people.items(), key=lambda item: item[1])
    return [
        Conflict(
            (a[0], b[0]), (a[1], b[1]), (copies.value("key", row), copies.value("key", other))
        )
        for at, (a, row) in enumerate(named)
        for b, other in named[at + 1 :]
        if a[0] == b[0] or names_match(_name(copies, row), _name(copies, other)) is False
    ]  # fmt: skip


def _name(copies: _Copies, row: int) -> str | None:
    return copies.people[copies.at[row]]


def _inside(group: Group, copies: _Copies) -> bool:
    return any(c.datasets[0] == c.datasets[1] for c in _conflicts(group, copies))


def _between(
    groups: Sequence[Group], copies: _Copies, datasets: Sequence[str]
) -> dict[tuple[str, str], int]:
    counts = Counter(
        (copies.dataset(group.classes[0][0]), copies.dataset(row))
        for group in groups
        for rows in group.classes
        for row in rows
        if row != group.classes[0][0]
    )
    place = {name: at for at, name in enumerate(datasets)}
    return dict(sorted(counts.items(), key=lambda item: [place[name] for name in item[0]]))
