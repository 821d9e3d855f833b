"""Verify a store: is every file what it was when it was written, and do they agree?"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fusekit.errors import FusekitError, StoreError
from fusekit.fingerprint import fingerprint
from fusekit.progress import Progress, Report, silent
from fusekit.report.dataset_check import check_dataset
from fusekit.report.finding_check import check_finding
from fusekit.report.mixture_check import check_mixture
from fusekit.report.problem import Problem, caught, check_sums, of_error
from fusekit.store import layout
from fusekit.store.datasets import indexes
from fusekit.store.heads import load_head
from fusekit.store.layout import open_store
from fusekit.store.tombstones import JOURNAL, read_tombstone_table

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from fusekit.storage.folder import Storage


@dataclass(frozen=True)
class VerifyResult:
    """What was checked, and every fault.

    Attributes:
        datasets: Finished datasets that were checked.
        unfinished: Datasets whose ingest is not finished; nothing in them is promised yet.
        mixtures: Mixtures that were checked.
        findings: Findings that were checked.
        heads: Heads that were checked.
        problems: The faults, by dataset and file.
    """

    datasets: tuple[str, ...]
    unfinished: tuple[str, ...]
    mixtures: tuple[str, ...]
    findings: int
    heads: int
    problems: tuple[Problem, ...]

    def as_json(self) -> dict[str, Any]:
        """Give it as the object that ``fusekit verify --json`` prints."""
        return {
            "datasets": list(self.datasets),
            "unfinished": list(self.unfinished),
            "mixtures": list(self.mixtures),
            "findings": self.findings,
            "heads": self.heads,
            "problems": [problem.as_json() for problem in self.problems],
        }

    def lines(self) -> list[str]:
        """Give a line for each fault and one for the whole."""
        parts = [
            _count(len(self.datasets), "dataset"),
            _count(len(self.mixtures), "mixture"),
            _count(self.findings, "finding"),
            _count(self.heads, "head"),
        ]
        faults = _count(len(self.problems), "fault") if self.problems else "no fault"
        lines = [str(problem) for problem in self.problems]
        if self.unfinished:
            lines.append(f"not finished, so not checked: {', '.join(self.unfinished)}")
        return [*lines, f"{faults} in {', '.join(p for p in parts if not p.startswith('0 '))}"]


def verify_store(
    store: str | os.PathLike[str] | None = None,
    name: str | None = None,
    *,
    deep: bool = True,
    report: Report = silent,
) -> VerifyResult:
    """Check a store, or one dataset or mixture of it.

    Digests, counts, plans, manifests, shards, their members, embeddings, findings, heads and
    mixtures are checked against their records and against each other.

    Args:
        store: The store's path; None takes ``FUSEKIT_STORE``, else ``./fusekit-store``.
        name: A dataset or a mixture; None checks everything.
        deep: Read the shards too; False checks tables and records alone.
        report: Told of progress.

    Returns:
        What was checked, and the faults: none in a sound store.

    Raises:
        StoreError: There is no store, it is of a newer format, or nothing in it has this name.
    """
    storage = open_store(store)
    datasets = [n for n in storage.names("datasets") if name in (None, n)]
    mixtures = [n for n in storage.names("mixtures") if name in (None, n)]
    if name is not None and not datasets and not mixtures:
        known = ", ".join(storage.names("datasets") + storage.names("mixtures"))
        raise StoreError(name, "is no dataset or mixture of this store", known or None)
    finished = [n for n in datasets if storage.exists(layout.dataset_json(n))]
    problems: list[Problem] = []
    for dataset in finished:
        problems += check_dataset(storage, dataset, deep=deep, report=report)
    findings = _findings(storage) if name is None else []
    heads = _heads(storage) if name is None else []
    if name is None:
        problems += caught(_check_indexes(storage))
        problems += caught(_check_erasures(storage))
    for number, (kind, finding) in enumerate(findings, 1):
        problems += caught(check_finding(storage, kind, finding))
        report(Progress("verify findings", number, len(findings), "findings"))
    for head in heads:
        problems += caught(_check_head(storage, head))
    for number, mixture in enumerate(mixtures, 1):
        problems += caught(check_mixture(storage, mixture))
        report(Progress("verify mixtures", number, len(mixtures), "mixtures"))
    return VerifyResult(
        datasets=tuple(finished),
        unfinished=tuple(n for n in datasets if n not in finished),
        mixtures=tuple(mixtures),
        findings=len(findings),
        heads=len(heads),
        problems=tuple(dict.fromkeys(problems)),  # two checks may meet the same broken file
    )


def _findings(storage: Storage) -> list[tuple[str, str]]:
    return [
        (kind, name)
        for kind in storage.names("findings")
        for name in storage.names(f"findings/{kind}")
        if storage.exists(f"findings/{kind}/{name}/finding.json")
    ]


def _heads(storage: Storage) -> list[str]:
    names = storage.names("heads")
    return [n.removesuffix(".safetensors") for n in names if n.endswith(".safetensors")]


def _check_indexes(storage: Storage) -> Iterator[Problem]:
    for index, dataset in indexes(storage).items():
        if not storage.exists(layout.dataset(dataset)):
            yield Problem(layout.index_claim(index), f"is {dataset}'s, which is not in the store")


def _check_erasures(storage: Storage) -> Iterator[Problem]:
    if storage.exists(JOURNAL):
        yield Problem(JOURNAL, "an erasure was interrupted; fusekit forget goes on with it")
    for file in storage.names("tombstones"):
        try:
            read_tombstone_table(storage, f"tombstones/{file}")
        except FusekitError as error:
            yield of_error(error)


def _check_head(storage: Storage, name: str) -> Iterator[Problem]:
    where, weight = f"heads/{name}.json", f"heads/{name}.safetensors"
    try:
        about = json.loads(storage.read(where))
        laid_by_hand = about.keys().isdisjoint({"digest", "weight_sha256"})
        whole = laid_by_hand or about.pop("digest", None) == fingerprint(about)
    except (ValueError, AttributeError):
        whole, laid_by_hand = False, False
    if not whole:
        yield Problem(where, "does not match its own digest")
    elif not laid_by_hand:
        yield from check_sums(storage, {weight: str(about.get("weight_sha256"))})
    load_head(storage, name)


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
