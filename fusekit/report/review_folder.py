"""Lay a finding out for a person: contact sheets of its unsure rows, and a CSV file to fill in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fusekit.errors import FindingError, UsageError
from fusekit.faces.image import encode_crop
from fusekit.progress import Progress, Report, silent
from fusekit.report.finding_sheets import draw_finding_sheets, split_rows
from fusekit.storage.folder import writing_folder
from fusekit.store import layout
from fusekit.store.decisions import decisions_csv
from fusekit.store.findings import SCHEMAS, read_finding_table
from fusekit.store.reviews import DECISIONS, SHOWN, UNSURE, find_reviewable

if TYPE_CHECKING:
    import os

    from fusekit.storage.folder import Storage
    from fusekit.store.findings import Finding

CSV: Final = "decisions.csv"
_ON_A_SHEET: Final = 20
_NUMBER: Final = "row"  # a column added to the table: each row's number in the finding


@dataclass(frozen=True)
class ReviewFolder:
    """What was laid out for a person.

    Attributes:
        finding: Fingerprint of the finding, its newest version.
        kind: Its kind.
        folder: Where the sheets and the file are.
        rows: Rows to decide on.
        sheets: Contact sheets.
        answers: What a row may be decided to be.
    """

    finding: str
    kind: str
    folder: str
    rows: int
    sheets: int
    answers: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Give it as the object that ``fusekit review FINDING --json`` prints."""
        return {**vars(self), "answers": list(self.answers)}


def export_review(
    finding: str,
    *,
    out: str | os.PathLike[str] | None = None,
    every: bool = False,
    store: str | os.PathLike[str] | None = None,
    report: Report = silent,
) -> ReviewFolder:
    """Write the unsure rows of a finding as contact sheets and a CSV file with an empty column.

    The sheets show the pictures, the file says which sheet a row is on and all that the finding
    knows of it; a person writes into its column ``decision``, and
    :func:`fusekit.curate.review.apply_review` takes it back. Of a group of copies the others are
    shown too, but only the rows asked about stand in the file.

    Args:
        finding: First digits of the finding's fingerprint, its kind if there is only one of it,
            or both as ``overlap-3f2a``.
        out: The folder, new or empty; None: ``review-`` and the first digits.
        every: All rows instead of the unsure ones.
        store: Path of the store; None takes ``$FUSEKIT_STORE``, else ``./fusekit-store``.
        report: Told of progress.

    Raises:
        FindingError: There is no such finding or several, it is stale, or has no such rows.
        UsageError: The folder holds something.
        StoreError: A dataset is gone, or a crop does not decode.
        StorageError: The folder can't be written.
    """
    storage = layout.open_store(store)
    chosen = find_reviewable(storage, finding)
    place = Path(out or f"review-{chosen.fingerprint[:SHOWN]}").absolute()
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise UsageError(str(out or place.name), "is there already", "a new or empty folder")
    table = read_finding_table(storage, chosen)
    table = table.append_column(_NUMBER, pa.array(np.arange(table.num_rows)))
    asked = table if every else table.filter(pc.field("decision") == UNSURE)
    if not asked.num_rows:
        found = "has no rows" if every else f"has no {UNSURE} row"
        fix = None if every else "--all shows those that are decided"
        where = f"{chosen.kind}-{chosen.fingerprint[:SHOWN]}"
        raise FindingError(where, found, None, fix)
    place.parent.mkdir(parents=True, exist_ok=True)
    with writing_folder(place) as target:
        sheet_of = _draw(storage, chosen, _shown_with(chosen, table, asked), target, report)
        columns = SCHEMAS[chosen.kind].names
        rows = [(row[_NUMBER], row, sheet_of[row[_NUMBER]]) for row in asked.to_pylist()]
        target.write(CSV, decisions_csv(chosen, rows, columns))
    return ReviewFolder(
        finding=chosen.fingerprint, kind=chosen.kind, folder=str(out or place.name),
        rows=asked.num_rows, sheets=len(set(sheet_of.values())), answers=DECISIONS[chosen.kind],
    )  # fmt: skip


def _shown_with(finding: Finding, table: pa.Table, asked: pa.Table) -> pa.Table:
    """Add what must be seen to decide: of a group of copies, the others."""
    if finding.kind != "duplicates":
        return asked
    return table.filter(pc.is_in(table["group"], value_set=pc.unique(asked["group"])))


def _draw(
    storage: Storage, finding: Finding, shown: pa.Table, target: Storage, report: Report
) -> dict[int, str]:
    """Write the sheets; give each row's sheet."""
    parts = split_rows(finding, shown)
    rows = pa.concat_tables(parts)
    sheets = draw_finding_sheets(
        storage, finding, rows.drop_columns([_NUMBER]), rows_a_sheet=_ON_A_SHEET
    )
    sheet_of: dict[int, str] = {}
    starts = range(0, len(parts), _ON_A_SHEET)
    for done, (first, (stem, picture)) in enumerate(zip(starts, sheets, strict=True), 1):
        name = f"{stem}.png"
        target.write(name, encode_crop(picture, "png"))
        for part in parts[first : first + _ON_A_SHEET]:
            sheet_of |= dict.fromkeys(part[_NUMBER].to_pylist(), name)
        report(Progress("sheets", done, len(starts), "sheets"))
    return sheet_of
