"""Check one finding: its description, its table's digest, and that its rows are the dataset's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from fusekit.fingerprint import file_sha256
from fusekit.report.problem import Problem, compare
from fusekit.store import layout
from fusekit.store.datasets import open_dataset, sample_rows
from fusekit.store.findings import finding_json, read_finding, read_finding_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusekit.storage.folder import Storage


def check_finding(storage: Storage, kind: str, name: str) -> Iterator[Problem]:
    """Check a finding; one whose inputs have changed since is stale, which is no fault.

    Args:
        storage: The store.
        kind: The finding's kind.
        name: Its fingerprint.

    Yields:
        Faults.

    Raises:
        FindingError: Its description is damaged, so nothing more can be said.
    """
    folder = layout.finding(kind, name)
    finding = read_finding(storage, kind, name)
    where = f"{folder}/table.parquet"
    data = storage.read(f"{folder}/finding.json")
    text = json.loads(data)
    expected = text.get("table_sha256")
    # Written in one form only, so any other byte is a fault, a key's too.
    if finding_json(finding, str(expected)) != data:
        yield Problem(f"{folder}/finding.json", "is damaged")
        return
    if not storage.exists(where):
        yield Problem(where, "is missing")
        return
    if (found := file_sha256(storage.path(where))) != expected:
        yield Problem(where, f"has sha256 {found[:16]}…; expected {expected[:16]}…")
        return
    dataset = finding.datasets[0]
    if not storage.exists(layout.dataset_json(dataset)):
        return
    info = open_dataset(storage, dataset)
    if kind in ("activation", "clusters") and finding.about["inputs"].get(dataset) == info.fingerprint:
        rows = read_finding_table(storage, finding, ["key"]).num_rows
        yield from compare(where, "rows", rows, sample_rows(storage, info))
