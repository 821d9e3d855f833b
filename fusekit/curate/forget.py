"""Erase a person or a withdrawn picture from a store, for good and everywhere in it."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from fusekit.curate.forgetting.caches import erase_caches
from fusekit.curate.forgetting.datasets import erase_samples, finish_erasure, gone_of
from fusekit.curate.forgetting.derived import (
    erase_findings,
    erase_heads,
    erase_mixture,
    touched_mixtures,
)
from fusekit.curate.forgetting.journal import (
    Journal,
    plan_dataset,
    read_journal,
    write_journal,
)
from fusekit.curate.forgetting.proof import Evidence, find_left, take_evidence
from fusekit.curate.forgetting.targets import Request, Target, display_names, find_targets
from fusekit.errors import StoreError, UsageError
from fusekit.models.registry import resolve_model
from fusekit.progress import Progress, Report, silent
from fusekit.schema import MANIFEST_SCHEMA
from fusekit.store import layout
from fusekit.store.embeddings import EmbeddingModel
from fusekit.store.findings import list_findings
from fusekit.store.tables import read_table
from fusekit.store.tombstones import (
    JOURNAL,
    STEM_LETTERS,
    Tombstone,
    item_digest,
    listing_of,
    source_digest,
    write_tombstones,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence

    from fusekit.curate.forgetting.journal import DatasetErasure
    from fusekit.storage.folder import Storage


@dataclass(frozen=True)
class Erased:
    """What was erased of one dataset.

    Attributes:
        dataset: Its name.
        identities: The identities that were erased whole; empty where an interrupted erasure was
            gone on with, which no longer knows them.
        names: Their display names; null where there is none but the identity itself.
        items: Items of the raw data, rejected ones among them.
        samples: Samples.
        shards: Shards that were overwritten in part.
        copies: Items that are there only because their bytes are those of another erased one.
    """

    dataset: str
    identities: tuple[str, ...]
    names: tuple[str | None, ...]
    items: int
    samples: int
    shards: int
    copies: int


@dataclass(frozen=True)
class ForgetResult:
    """What an erasure did, or would do.

    Attributes:
        datasets: By dataset.
        mixtures: The mixtures that lost rows.
        tombstones: The table of tombstones that keeps the items from coming back; empty: none was
            written.
        proved: Nothing of it is left in any file of the store: all were searched. False also
            where nothing was erased yet.
        left: Files that still hold some of it.
        went_on: An interrupted erasure was gone on with.
        dry_run: Nothing was erased.
    """

    datasets: tuple[Erased, ...]
    mixtures: tuple[str, ...]
    tombstones: str = ""
    proved: bool = False
    left: tuple[str, ...] = ()
    went_on: bool = False
    dry_run: bool = False

    @property
    def samples(self) -> int:
        """How many samples were erased."""
        return sum(each.samples for each in self.datasets)

    @property
    def shards(self) -> int:
        """How many shards were overwritten in part."""
        return sum(each.shards for each in self.datasets)

    def as_json(self) -> dict[str, Any]:
        """Give it as the object that ``fusekit forget --json`` prints."""
        return {
            "samples": self.samples, "shards": self.shards,
            "datasets": [_plain(d) for d in self.datasets],
            "mixtures": list(self.mixtures), "tombstones": self.tombstones,
            "proved": self.proved, "left": list(self.left), "went_on": self.went_on,
            "dry_run": self.dry_run,
        }  # fmt: skip


def forget(
    *,
    identity: str | None = None,
    source: str | None = None,
    key: str | None = None,
    dataset: str | None = None,
    everywhere: bool = False,
    embedder: str | None = None,
    dry_run: bool = False,
    store: str | os.PathLike[str] | None = None,
    confirm: Callable[[ForgetResult], bool] | None = None,
    report: Report = silent,
) -> ForgetResult:
    """Erase a person, an item or a sample from a store.

    A picture is erased whole: all samples of its item, and every item of the same dataset whose
    bytes, or whose crop's bytes, are the same. Crops are overwritten in their shards; rows keep
    their places and numbers and lose everything else, in manifests, plans, rejects, embeddings,
    findings, heads, mixtures and this user's caches. Tombstones keep a later ingest from bringing
    the items back. Then every file of the store is searched for what was erased.

    An erasure that was interrupted is gone on with first, whatever is asked now.

    Args:
        identity: The person, as a dataset spells them or by their display name; spellings that
            differ in case, accents and separators are the same name.
        source: The item's source, as manifests have it.
        key: The sample's key.
        dataset: Where to look for it; None looks everywhere.
        everywhere: Erase it in every dataset, with copies of its pictures; for an identity also
            those that a fresh overlap finding decides to be the same person.
        embedder: Only overlap findings by this model: the name that they have, or a registry name,
            pack or path.
        dry_run: Tell what would be erased and erase nothing.
        store: Path of the store; None takes ``$FUSEKIT_STORE``, else ``./fusekit-store``.
        confirm: Asked with what would be erased; False erases nothing. None: nobody is asked.
        report: Told of progress.

    Returns:
        What was erased, and whether the search proved it.

    Raises:
        UsageError: Not exactly one of identity, source and key is given, with nothing to go on
            with.
        StoreError: It is not in the store, stands in several datasets without ``everywhere``, or
            another process writes to one of them.
        StorageError: A file is damaged, or the disk is full; the same call goes on.
        ModelError: The embedder can't be had.
    """
    storage = layout.open_store(store)
    given = [each for each in (identity, source, key) if each]
    if len(given) > 1 or (not given and read_journal(storage) is None):
        raise UsageError(
            "forget", f"{len(given) or 'none'} of --identity, --source and --key", "one of them"
        )
    model = None if embedder is None else _digest_of(storage, embedder, report)
    request = Request(identity, source, key, dataset, everywhere=everywhere, embedder=model)
    if dry_run:
        return _result(*_plan(storage, find_targets(storage, request)), dry_run=True)
    with storage.lock("forget"):
        for folder in ("tombstones", "forget"):  # only erasures write here
            storage.sweep(folder)
        before = _go_on(storage, report)
        if before is not None and not given:
            return before
        try:
            targets = find_targets(storage, request)
        except StoreError:
            if before is None:
                raise
            return before  # it was this erasure that was interrupted
        result = _result(*_plan(storage, targets), dry_run=True)
        if confirm is not None and not confirm(result):
            return result
        with _all_locks(storage, [target.info.name for target in targets]):
            result = _forget(storage, targets, report)
        return result if before is None else _together(before, result)


def _digest_of(storage: Storage, embedder: str, report: Report) -> str:
    """Give the sha256 of a model that findings name; the model itself need not be here."""
    for finding in list_findings(storage, "overlap"):
        model = EmbeddingModel(**finding.about["model"])
        if embedder in (model.name, model.folder):
            return model.sha256
    return resolve_model(embedder, "embed", report).sha256


def _go_on(storage: Storage, report: Report) -> ForgetResult | None:
    journal = read_journal(storage)
    if journal is None:
        return None
    with _all_locks(storage, [each.dataset for each in journal.datasets]):
        for folder in _written_without_lock(storage):
            storage.sweep(folder)
        evidence = take_evidence(storage, (), journal)
        gone = [gone_of(storage, each) for each in journal.datasets]
        evidence.texts = {each.dataset: set(each.identities) for each in gone}
        return replace(_work(storage, journal, evidence, report), went_on=True)


def _written_without_lock(storage: Storage) -> list[str]:
    """Give the folders in which an interrupted erasure may have left a half-written file."""
    findings = [
        layout.finding(kind, name)
        for kind in storage.names("findings")
        for name in storage.names(f"findings/{kind}")
    ]
    return ["heads", *findings]


def _forget(storage: Storage, targets: Sequence[Target], report: Report) -> ForgetResult:
    tombstones = write_tombstones(storage, [t for each in targets for t in _stones(storage, each)])
    journal, erased = _plan(storage, targets)
    journal = replace(journal, tombstones=tombstones)
    evidence = take_evidence(storage, targets, journal)
    write_journal(storage, journal)
    result = _work(storage, journal, evidence, report)
    return replace(result, datasets=tuple(erased))


def _work(storage: Storage, journal: Journal, evidence: Evidence, report: Report) -> ForgetResult:
    """Do what the journal says, from the start; what is done already stays as it is."""
    gone = [gone_of(storage, each) for each in journal.datasets]
    steps = len(journal.datasets) + len(journal.mixtures)
    for number, (each, mine) in enumerate(zip(journal.datasets, gone, strict=True)):
        report(Progress("forget", number, steps, "datasets and mixtures"))
        erase_samples(storage, each, mine)
    erase_findings(storage, gone)
    erase_heads(storage, gone)
    for name in storage.names("mixtures"):
        erase_mixture(storage, name, gone)
    shards = [unit.shard_sha256 for each in journal.datasets for unit in each.units]
    erase_caches(storage, shards, journal.mixtures)
    # Last, since until here the texts of identities tell whose rows are meant.
    for each in journal.datasets:
        finish_erasure(storage, each)
    report(Progress("forget", steps, steps, "datasets and mixtures"))
    left = find_left(storage, evidence, journal, gone, report)
    storage.remove(JOURNAL)
    return ForgetResult(
        tuple(_erased(each, {}, {}) for each in journal.datasets), tuple(journal.mixtures),
        tombstones=journal.tombstones, proved=not left, left=tuple(left),
    )  # fmt: skip


def _plan(storage: Storage, targets: Sequence[Target]) -> tuple[Journal, list[Erased]]:
    datasets = [plan_dataset(storage, target) for target in targets]
    shards = {
        layout.shard(each.dataset, unit.unit)
        for each in datasets
        for unit in each.units
        if unit.members
    }
    mixtures = {
        name: hashlib.sha256(storage.read(f"{layout.mixture(name)}/mixture.json")).hexdigest()
        for name in touched_mixtures(storage, shards)
    }
    return Journal(datasets, "", mixtures), [
        _erased(each, target.people, display_names(storage, target))
        for each, target in zip(datasets, targets, strict=True)
    ]


def _erased(each: DatasetErasure, people: dict[int, str], names: dict[int, str]) -> Erased:
    order = sorted(people)
    return Erased(
        dataset=each.dataset, identities=tuple(people[i] for i in order),
        names=tuple(names.get(i) for i in order), items=len(each.stems), samples=each.samples,
        shards=each.shards, copies=each.copies,
    )  # fmt: skip


def _plain(erased: Erased) -> dict[str, Any]:
    return vars(erased) | {"identities": list(erased.identities), "names": list(erased.names)}


def _result(journal: Journal, erased: list[Erased], *, dry_run: bool) -> ForgetResult:
    return ForgetResult(tuple(erased), tuple(journal.mixtures), dry_run=dry_run)


def _together(before: ForgetResult, after: ForgetResult) -> ForgetResult:
    return replace(
        after, datasets=before.datasets + after.datasets,
        mixtures=tuple(sorted({*before.mixtures, *after.mixtures})),
        proved=before.proved and after.proved, left=before.left + after.left, went_on=True,
    )  # fmt: skip


def _stones(storage: Storage, target: Target) -> Iterator[Tombstone]:
    """Give the tombstones of a target's items, by what is known of their bytes."""
    info = target.info
    listing = listing_of(storage, info.name) or info.name
    digests: dict[str, bytes] = {}
    wanted = pa.array(sorted(target.sources), pa.string())
    for file in info.files:
        rows = read_table(storage, file, MANIFEST_SCHEMA, ["key", "length", "source_digest"])
        rows = rows.filter(pc.greater(rows["length"], 0))
        stems = pc.utf8_slice_codeunits(rows["key"], 0, STEM_LETTERS)
        mine = rows.append_column("stem", stems).filter(pc.is_in(stems, value_set=wanted))
        digests |= dict(
            zip(mine["stem"].to_pylist(), mine["source_digest"].to_pylist(), strict=True)
        )
    for stem, source in target.sources.items():
        known = digests.get(stem)
        item = None if known is None else item_digest(known)
        yield Tombstone(info.name, listing, source_digest(source), item)


@contextmanager
def _all_locks(storage: Storage, datasets: Sequence[str]) -> Iterator[None]:
    """Hold the locks of everything that is written to: of datasets, embeddings and mixtures."""
    with ExitStack() as stack:
        for name in sorted(datasets):
            stack.enter_context(storage.lock(name))
            for model in storage.names(f"{layout.dataset(name)}/embeddings"):
                stack.enter_context(storage.lock(f"{name}.embeddings.{model}"))
        for name in storage.names("mixtures"):
            stack.enter_context(storage.lock(f"mixture-{name}"))
        yield
