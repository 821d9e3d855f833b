"""Find what an erasure is about: whose items, in which datasets, and every copy of their bytes."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from fusekit.curate.forgetting.linked import linked_people
from fusekit.curate.names import name_key
from fusekit.errors import StoreError
from fusekit.schema import IDENTITIES_SCHEMA, MANIFEST_SCHEMA, PLAN_SCHEMA
from fusekit.store import layout
from fusekit.store.datasets import list_datasets
from fusekit.store.erasure import each_of
from fusekit.store.tables import read_batches, read_table
from fusekit.store.tombstones import (
    STEM_LETTERS,
    Tombstones,
    forgotten_source,
    is_forgotten,
    key_stem,
    read_tombstones,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fusekit.storage.folder import Storage
    from fusekit.store.datasets import DatasetInfo

_DIGESTS: Final = ("source_digest", "content_digest")
_SAMPLES: Final = pa.schema(
    [MANIFEST_SCHEMA.field(name) for name in ("key", "source", "length", *_DIGESTS)]
)


@dataclass(frozen=True)
class Request:
    """What is asked to be erased: one of the first three.

    Attributes:
        identity: A person: as a dataset spells them, or their display name.
        source: An item's source text.
        key: A sample's key.
        dataset: Where to look; None: in every dataset.
        everywhere: Erase it in every dataset that has it.
        embedder: sha256 of the model whose overlap findings tell who is the same person; None: any.
    """

    identity: str | None = None
    source: str | None = None
    key: str | None = None
    dataset: str | None = None
    everywhere: bool = False
    embedder: str | None = None

    @property
    def wanted(self) -> str:
        """What it names."""
        return self.identity or self.source or self.key or ""

    @property
    def option(self) -> str:
        """The option that names it."""
        which = "identity" if self.identity else "source" if self.source else "key"
        return f"--{which} {self.wanted}"


@dataclass
class Target:
    """What is to be erased from one dataset.

    Attributes:
        info: The dataset.
        people: Identity index to text, of the identities that are erased whole.
        sources: Stem of the items' keys to their source texts.
        copies: Stems of those that are only there because their bytes are an erased item's.
    """

    info: DatasetInfo
    people: dict[int, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    copies: set[str] = field(default_factory=set)

    @property
    def stems(self) -> frozenset[str]:
        """What the keys of all its items start with."""
        return frozenset(self.sources)


def find_targets(storage: Storage, request: Request) -> list[Target]:
    """Find everything that a request means.

    Raises:
        StoreError: Nothing of this name is in the store, or it stands in several datasets and
            the request is not for all of them; or a dataset whose ingest is not finished has it.
    """
    infos = {info.name: info for info in list_datasets(storage)}
    looked_in = [_known(infos, request.dataset)] if request.dataset else list(infos.values())
    found = {t.info.name: t for info in looked_in if (t := _look(storage, info, request))}
    _check_unfinished(storage, request)
    if not found:
        raise _nothing_found(storage, request, looked_in)
    if request.everywhere and request.identity:
        _add_linked(storage, infos, found, request)
    _check_one(found, request, "is in")
    named = set(found)
    _add_copies(storage, infos, found)
    if not request.everywhere:
        said = f"is in {', '.join(sorted(named))}; copies of its pictures are in"
        _check_one(found, request, said, named)
    for target in found.values():
        _add_people(storage, target)
    return [found[name] for name in sorted(found)]


def _known(infos: dict[str, DatasetInfo], name: str) -> DatasetInfo:
    if name not in infos:
        raise StoreError(name, "is no dataset of this store", ", ".join(infos) or None)
    return infos[name]


def _look(storage: Storage, info: DatasetInfo, request: Request) -> Target | None:
    target = Target(info)
    if request.identity is not None:
        target.people = _people(storage, info, request.identity)
        target.sources = _items_of(storage, info, target.people, request.identity)
    elif request.source is not None:
        wanted = pa.array([request.source], pa.string())
        for rows in _plan(storage, info, ["source"]):
            if pc.any(pc.is_in(rows["source"], value_set=wanted)).as_py():
                target.sources = {key_stem(request.source): request.source}
                break
    elif request.key is not None:
        stem = request.key[:STEM_LETTERS]
        for rows in _samples(storage, info):
            mine = rows.filter(pc.equal(rows["key"], request.key))
            if mine.num_rows:
                target.sources[stem] = mine["source"][0].as_py()
    target.sources = {k: s for k, s in target.sources.items() if not is_forgotten(s)}
    return target if target.people or target.sources else None


def _people(storage: Storage, info: DatasetInfo, wanted: str) -> dict[int, str]:
    folded, found = name_key(wanted), {}
    for row in _identities(storage, info).to_pylist():
        text, name = row["identity"], row["name"]
        same = wanted in (text, name) or (
            folded is not None and folded in (name_key(text), name_key(name))
        )
        if same and not is_forgotten(text):
            found[row["identity_index"]] = text
    return found


def _identities(storage: Storage, info: DatasetInfo) -> pa.Table:
    name = layout.identities(info.name)
    if not storage.exists(name):
        return IDENTITIES_SCHEMA.empty_table()
    return read_table(storage, name, IDENTITIES_SCHEMA)


def _items_of(
    storage: Storage, info: DatasetInfo, people: dict[int, str], wanted: str
) -> dict[str, str]:
    """Give the items of people, rejected ones and those of people without a number among them."""
    numbers = pa.array(sorted(people), pa.int32())
    sources: dict[str, str] = {}
    for rows in _plan(storage, info, ["source", "identity", "identity_index"]):
        mine = pc.is_in(rows["identity_index"], value_set=numbers)
        absent = pc.and_(pc.equal(rows["identity_index"], -1), pc.equal(rows["identity"], wanted))
        chosen = rows.filter(pc.or_(mine, pc.fill_null(absent, fill_value=False)))
        sources |= {key_stem(source): source for source in chosen["source"].to_pylist()}
    return sources


def _plan(storage: Storage, info: DatasetInfo, columns: list[str]) -> Iterator[pa.Table]:
    for unit in range(info.units):
        yield read_table(storage, layout.plan_part(info.name, unit), PLAN_SCHEMA, columns)


def _samples(storage: Storage, info: DatasetInfo) -> Iterator[pa.Table]:
    """Read the samples that are not erased."""
    for name in info.files:
        for batch in read_batches(storage, name, _SAMPLES):
            rows = pa.Table.from_batches([batch])
            yield rows.filter(pc.greater(rows["length"], 0))


def display_names(storage: Storage, target: Target) -> dict[int, str]:
    """Give the display names of a target's people, of those who have one that says more."""
    rows = _identities(storage, target.info).to_pylist()
    return {
        row["identity_index"]: row["name"]
        for row in rows
        if row["identity_index"] in target.people and row["name"] not in (None, row["identity"])
    }


def _check_unfinished(storage: Storage, request: Request) -> None:
    """Refuse where an ingest that was stopped has the same: it can't be erased by halves."""
    for name in storage.names("datasets"):
        if storage.exists(layout.dataset_json(name)) or request.dataset not in (None, name):
            continue
        folder = f"{layout.dataset(name)}/plan"
        for file in [n for n in storage.names(folder) if n.startswith("part-")]:
            rows = read_table(storage, f"{folder}/{file}", PLAN_SCHEMA, ["source", "identity"])
            if _is_named(rows, request):
                raise StoreError(
                    request.option, f"is in {name} too, whose ingest is not finished", None,
                    "run that ingest to its end, or remove its folder, and forget then",
                )  # fmt: skip


def _is_named(rows: pa.Table, request: Request) -> bool:
    if request.identity is not None:
        folded = name_key(request.identity)
        people = [text for text in pc.unique(rows["identity"]).to_pylist() if text is not None]
        return any(t == request.identity or (folded and folded == name_key(t)) for t in people)
    stem = key_stem(request.source) if request.source is not None else (request.key or "")
    stems = {key_stem(source) for source in rows["source"].to_pylist()}
    return stem[:STEM_LETTERS] in stems


def _nothing_found(
    storage: Storage, request: Request, looked_in: Sequence[DatasetInfo]
) -> StoreError:
    where = request.dataset or "the store"
    if _was_forgotten(read_tombstones(storage), request, looked_in):
        return StoreError(request.option, f"was forgotten before; nothing of it is in {where}")
    fix = None
    if request.identity is not None:
        known = [
            text
            for info in looked_in
            for column in ("identity", "name")
            for text in _identities(storage, info)[column].to_pylist()
            if text is not None
        ]
        near = difflib.get_close_matches(request.identity, known, 1)
        fix = f"did you mean {near[0]!r}?" if near else "fusekit sql shows the view identities"
    elif request.source is not None:
        fix = "give the source as the view samples of fusekit sql has it"
    return StoreError(request.option, f"is not in {where}", None, fix)


def _was_forgotten(
    tombstones: Tombstones, request: Request, looked_in: Sequence[DatasetInfo]
) -> bool:
    if request.source is None:
        return False
    source = request.source
    return any(tombstones.holds_source(info.name, info.name, source) for info in looked_in)


def _check_one(
    found: dict[str, Target], request: Request, said: str, named: set[str] | None = None
) -> None:
    others = sorted(set(found) - (named or set()))
    if not request.everywhere and (len(others) > 1 if named is None else others):
        raise StoreError(
            request.option, f"{said} {', '.join(others)}", "one dataset",
            ("" if named else "--dataset names one, ") + "--everywhere erases all of them",
        )  # fmt: skip


def _add_linked(
    storage: Storage, infos: dict[str, DatasetInfo], found: dict[str, Target], request: Request
) -> None:
    """Add the identities that a fresh overlap finding says are the same people."""
    known = {(name, text) for name, t in found.items() for text in t.people.values()}
    for name, text in sorted(linked_people(storage, known, request.embedder) - known):
        info = infos[name]
        table = _identities(storage, info)
        mine = table.filter(pc.equal(table["identity"], text))
        people = dict(
            zip(mine["identity_index"].to_pylist(), mine["identity"].to_pylist(), strict=True)
        )
        target = found.setdefault(name, Target(info))
        target.people |= people
        target.sources |= _items_of(storage, info, people, text)


def _add_copies(storage: Storage, infos: dict[str, DatasetInfo], found: dict[str, Target]) -> None:
    """Add every item whose bytes, or whose crop's bytes, are those of one that is erased."""
    digests: dict[str, set[bytes]] = {name: set() for name in _DIGESTS}
    new = {name: target.stems for name, target in found.items()}
    while new:
        before = sum(map(len, digests.values()))
        for name, stems in new.items():
            for rows in _samples(storage, infos[name]):
                mine = rows.filter(pc.is_in(_stem_of(rows), value_set=each_of(stems)))
                for column, of_column in digests.items():
                    of_column.update(mine[column].to_pylist())
        new = {}
        if sum(map(len, digests.values())) == before:
            return
        for name, info in infos.items():
            copies = _copies_in(storage, info, digests, found.get(name))
            if copies:
                target = found.setdefault(name, Target(info))
                target.sources |= copies
                target.copies |= set(copies)
                new[name] = frozenset(copies)


def _copies_in(
    storage: Storage, info: DatasetInfo, digests: dict[str, set[bytes]], target: Target | None
) -> dict[str, str]:
    sets = {name: pa.array(sorted(values), pa.binary(16)) for name, values in digests.items()}
    known = frozenset() if target is None else target.stems
    copies: dict[str, str] = {}
    for rows in _samples(storage, info):
        same = [pc.is_in(rows[name], value_set=values) for name, values in sets.items()]
        chosen = rows.filter(pc.or_(*same))
        for source in chosen["source"].to_pylist():
            if key_stem(source) not in known:
                copies[key_stem(source)] = source
    return copies


def _stem_of(rows: pa.Table) -> pa.ChunkedArray:
    return pc.utf8_slice_codeunits(rows["key"], 0, STEM_LETTERS)


def _add_people(storage: Storage, target: Target) -> None:
    """Add the identities of whom no item is left when the target's are erased."""
    left: dict[int, int] = {}
    touched: dict[int, str] = {}
    marked = {forgotten_source(stem) for stem in target.sources}
    gone = each_of([*target.sources.values(), *marked])
    for rows in _plan(storage, target.info, ["source", "identity", "identity_index"]):
        forgotten = pc.or_(
            pc.is_in(rows["source"], value_set=gone), pc.starts_with(rows["source"], "forgotten:")
        )
        mine = rows.filter(pc.and_(forgotten, pc.is_valid(rows["identity"])))
        touched |= dict(
            zip(mine["identity_index"].to_pylist(), mine["identity"].to_pylist(), strict=True)
        )
        for index in rows.filter(pc.invert(forgotten))["identity_index"].to_pylist():
            left[index] = left.get(index, 0) + 1
    target.people |= {i: text for i, text in touched.items() if i >= 0 and not left.get(i)}
