"""Findings: tables of what curation proposes, each beside what it was made from.

A finding's name is the fingerprint of what it says about itself: its inputs' fingerprints, its
model, its settings. So the same work gives the same finding, and a finding whose inputs have
changed since is known as stale instead of being used.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from fusekit.errors import FindingError
from fusekit.fingerprint import file_sha256, fingerprint
from fusekit.schema import (
    ACTIVATIONS_SCHEMA,
    CLUSTERS_SCHEMA,
    CONTAMINATION_SCHEMA,
    DUPLICATES_SCHEMA,
    LABEL_NOISE_SCHEMA,
    OVERLAP_SCHEMA,
    ArrowSchema,
)
from fusekit.store import layout
from fusekit.store.datasets import DatasetInfo, list_datasets, were_erased
from fusekit.store.tables import write_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusekit.storage.folder import Storage

Kind: TypeAlias = Literal[
    "activation", "clusters", "contamination", "duplicates", "label-noise", "overlap"
]

SCHEMAS: Final[dict[str, ArrowSchema]] = {
    "activation": ACTIVATIONS_SCHEMA,
    "clusters": CLUSTERS_SCHEMA,
    "contamination": CONTAMINATION_SCHEMA,
    "duplicates": DUPLICATES_SCHEMA,
    "label-noise": LABEL_NOISE_SCHEMA,
    "overlap": OVERLAP_SCHEMA,
}
"""The kinds of findings and their tables' columns."""
_MADE_BY: Final = {
    "activation": "fusekit filter {datasets} --against DATASET",
    "clusters": "fusekit cluster {datasets}",
    "contamination": "fusekit decontaminate {datasets} --against EVALUATION",
    "duplicates": "fusekit dedup {datasets}",
    "label-noise": "fusekit clean {datasets}",
    "overlap": "fusekit overlap {datasets}",
}
_SHOWN: Final = 12  # digits of a fingerprint in messages: enough to name it, short enough to type


@dataclass(frozen=True)
class Finding:
    """What one finding is.

    Attributes:
        kind: ``activation``, ``overlap``, …: one of :data:`SCHEMAS`.
        fingerprint: Of ``about``, 64 hex digits; the finding's name in the store.
        about: ``dataset`` or ``datasets`` (those it speaks of), ``inputs`` (dataset to
            fingerprint: all that were read), the model, and every setting that affected the
            result; ``supersedes``, the fingerprint of the finding whose place it takes.
        review: Who decided on its unsure rows, and when; empty: nobody did.
    """

    kind: str
    fingerprint: str
    about: dict[str, Any]
    review: dict[str, str] = field(default_factory=dict)

    @property
    def datasets(self) -> tuple[str, ...]:
        """The datasets that it speaks of."""
        return tuple(
            self.about["datasets"] if "datasets" in self.about else [self.about["dataset"]]
        )


def write_finding(
    storage: Storage,
    kind: str,
    about: dict[str, Any],
    table: pa.Table | Sequence[dict[str, Any]],
    schema: ArrowSchema,
    review: dict[str, str] | None = None,
    *,
    read: Sequence[DatasetInfo] = (),
) -> Finding:
    """Write a finding: its table first, then ``finding.json``, whose presence means finished.

    Args:
        storage: The store.
        kind: The finding's kind.
        about: A JSON object with at least ``dataset`` (or ``datasets``, a list) and ``inputs``;
            never times or paths.
        table: Its rows.
        schema: From :mod:`fusekit.schema`.
        review: Who decided on unsure rows, and when: no part of its fingerprint.
        read: The datasets that it was made from, as they were when reading began.

    Raises:
        FindingError: Samples of them were erased meanwhile; nothing of the finding is left then.
        StorageError: It can't be written.
    """
    finding = Finding(kind, fingerprint(about), about, review or {})
    folder = layout.finding(kind, finding.fingerprint)
    name = f"{folder}/table.parquet"
    write_table(storage, name, table, schema)
    sha256 = file_sha256(storage.path(name))
    if were_erased(storage, read):
        storage.remove(name)
        raise FindingError(
            ", ".join(finding.datasets), "samples were erased while this ran", None,
            "run it again when fusekit forget is done",
        )  # fmt: skip
    storage.write(f"{folder}/finding.json", finding_json(finding, sha256))
    return finding


def finding_json(finding: Finding, table_sha256: str) -> bytes:
    """Give the bytes of a finding's description, whose presence means finished.

    Args:
        finding: What it is.
        table_sha256: Of its table, 64 hex digits.
    """
    text = {
        "format_version": layout.FORMAT_VERSION, "kind": finding.kind, "about": finding.about,
        "table_sha256": table_sha256,
    }  # fmt: skip
    if finding.review:
        # No part of the fingerprint, so a digest of its own tells that it stands as written.
        text |= {"review": finding.review, "review_digest": fingerprint(finding.review)}
    return json.dumps(text, indent=1, sort_keys=True).encode()


def list_findings(storage: Storage, kind: str | None = None) -> list[Finding]:
    """Read what every finished finding says of itself, by kind and fingerprint.

    Args:
        storage: The store.
        kind: Only this kind; None for all.

    Raises:
        FindingError: A ``finding.json`` is damaged.
    """
    kinds = storage.names("findings") if kind is None else [kind]
    return [
        read_finding(storage, each, name)
        for each in kinds
        for name in storage.names(f"findings/{each}")
        if storage.exists(f"{layout.finding(each, name)}/finding.json")
    ]


def read_finding(storage: Storage, kind: str, name: str) -> Finding:
    """Read what one finding says of itself.

    Args:
        storage: The store.
        kind: The finding's kind.
        name: Its fingerprint.

    Raises:
        FindingError: Its ``finding.json`` is damaged or of a newer format.
    """
    where = f"{layout.finding(kind, name)}/finding.json"
    damaged = FindingError(where, "is damaged", None, "remove its folder and make it again")
    try:
        text = json.loads(storage.read(where))
        version, about = text["format_version"], text["about"]
        review = text.get("review", {})
    except (ValueError, KeyError, TypeError):
        raise damaged from None
    if not isinstance(version, int) or version > layout.FORMAT_VERSION:
        raise FindingError(
            where, f"has format {version}", f"at most {layout.FORMAT_VERSION}", "update fusekit"
        )
    good = isinstance(about, dict) and isinstance(about.get("inputs"), dict)
    named = good and ("dataset" in about or isinstance(about.get("datasets"), list))
    if not named or not isinstance(review, dict) or fingerprint(about) != name:
        raise damaged
    return Finding(kind, name, about, review)


def read_finding_table(
    storage: Storage, finding: Finding, columns: Sequence[str] | None = None
) -> pa.Table:
    """Read a finding's table, whole or some of its columns.

    Raises:
        FindingError: The table is missing or damaged.
    """
    name = f"{layout.finding(finding.kind, finding.fingerprint)}/table.parquet"
    try:
        table = pq.read_table(
            storage.path(name),
            columns=None if columns is None else list(columns),
            partitioning=None,
        )
    except (pa.ArrowException, OSError):
        raise FindingError(name, "is missing or damaged", None, _made_by(finding)) from None
    return table.replace_schema_metadata(None)


def find_fresh(
    storage: Storage, kind: str, *, datasets: Sequence[str], prefix: str | None = None
) -> Finding:
    """Find the one finding of a kind that speaks of some datasets and whose inputs still stand.

    One that a review has superseded gives way to the reviewed one.

    Args:
        storage: The store.
        kind: The finding's kind.
        datasets: Those it must speak of; it may speak of more.
        prefix: First digits of its fingerprint; None when there must be only one.

    Raises:
        FindingError: There is none, more than one, or only stale ones.
    """
    where, all_of = ", ".join(datasets), set(datasets)
    mine = [f for f in list_findings(storage, kind) if all_of <= set(f.datasets)]
    named = [f for f in mine if f.fingerprint.startswith(prefix or "")]
    if not named:
        found = f"no {kind} finding" + (f" {prefix}…" if prefix else "")
        here = f"one of {_prefixes(mine)}" if mine else None
        raise FindingError(where, found, here, _next_step(kind, datasets))
    stale = {f.fingerprint: why for f in named if (why := stale_because(storage, f))}
    fresh = [f for f in named if f.fingerprint not in stale]
    if not fresh:
        first, why = next(iter(stale.items()))
        raise FindingError(
            where, f"{kind} finding {first[:_SHOWN]} is stale: {why}", None,
            f"{_next_step(kind, datasets)} makes it again",
        )  # fmt: skip
    if prefix is None:
        replaced = {f.about.get("supersedes") for f in fresh}
        fresh = [f for f in fresh if f.fingerprint not in replaced]
    if len(fresh) > 1:
        raise FindingError(
            where, f"{len(fresh)} {kind} findings: {_prefixes(fresh)}", "one",
            "name it in the recipe with `finding: PREFIX`",
        )  # fmt: skip
    return fresh[0]


def stale_because(storage: Storage, finding: Finding) -> str | None:
    """Say why a finding no longer holds: what changed in its inputs; None: it holds."""
    # Read whole, not by name: a dataset that is gone is one of the answers here.
    now = {d.name: d.fingerprint for d in list_datasets(storage)}
    for name, was in sorted(finding.about["inputs"].items()):
        if name not in now:
            return f"{name} is no longer in the store"
        if now[name] != was:
            return f"{name} has fingerprint {now[name][:_SHOWN]}, it was {was[:_SHOWN]}"
    return None


def _prefixes(findings: Sequence[Finding]) -> str:
    return ", ".join(f.fingerprint[:_SHOWN] for f in findings)


def _made_by(finding: Finding) -> str:
    return _next_step(finding.kind, finding.datasets) + " makes it again"


def _next_step(kind: str, datasets: Sequence[str]) -> str:
    step = _MADE_BY.get(kind, f"make the {kind} finding of {{datasets}}")
    return step.format(datasets=" ".join(datasets))
