"""Pictures that a person can judge a finding by: contact sheets of its rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from fusekit.errors import UsageError
from fusekit.faces.image import encode_crop
from fusekit.report.choice import TOGETHER, choose_rows
from fusekit.report.contact_sheet import draw_evidence
from fusekit.report.evidence import gather_evidence
from fusekit.storage.folder import open_storage

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from fusekit.faces.image import CropFormat
    from fusekit.storage.folder import Storage
    from fusekit.store.crops import RgbImage
    from fusekit.store.findings import Finding

_ON_A_SHEET: Final = 20
_IN_ONE_PICTURE: Final = 40
_A_SIDE: Final = {"clusters": 12, "duplicates": 12, "activation": 5}
_BOTH_SIDES: Final = 6


def draw_finding_sheets(
    storage: Storage, finding: Finding, rows: pa.Table, *, rows_a_sheet: int = _ON_A_SHEET
) -> Iterator[tuple[str, RgbImage]]:
    """Draw rows of a finding as sheets: what is compared left and right, what is said between.

    Of an overlap or contamination each row is a person, with crops of both datasets; of label
    noise an identity, typical crops left and flagged ones right; of duplicates a group, the best
    copy first; of clusters a cluster, its nearest and furthest samples; of activations a sample
    beside the person that it is nearest to.

    Args:
        storage: The store.
        finding: What they are rows of.
        rows: Some of its rows, in the order to show them; at least ``rows_a_sheet`` pieces of
            evidence but the last sheet are on each.
        rows_a_sheet: Persons, identities, groups or clusters on a sheet.

    Yields:
        A file stem, such as ``overlap-3f2a9c01d4b7-001``, and the uint8 ``(H, W, 3)`` RGB sheet.

    Raises:
        StoreError: A dataset of the finding is no longer there, or a crop does not decode.

    Example:
        >>> for stem, sheet in draw_finding_sheets(storage, finding, rows):  # doctest: +SKIP
        ...     print(stem, sheet.shape)
    """
    parts = split_rows(finding, rows)
    stem = f"{finding.kind}-{finding.fingerprint[:12]}"
    heading = f"{finding.kind} of {', '.join(finding.datasets)}"
    most = crops_a_side(finding)
    for number, first in enumerate(range(0, len(parts), rows_a_sheet), 1):
        chosen = parts[first : first + rows_a_sheet]
        evidence = gather_evidence(storage, finding, pa.concat_tables(chosen), most=most)
        shown = f"{first + 1} to {first + len(chosen)} of {len(parts)}"
        yield f"{stem}-{number:03d}", draw_evidence(evidence, f"{heading}: {shown}")


def write_contact_sheet(
    storage: Storage, finding: Finding, path: str | os.PathLike[str], *, rows: int = _IN_ONE_PICTURE
) -> None:
    """Write one picture of what a finding says, the rows that need a person first.

    Args:
        storage: The store.
        finding: Any finding.
        path: The file, ``.png`` or ``.jpg``; replaced when it is there.
        rows: Most persons, identities, groups or clusters in it.

    Raises:
        UsageError: The file's name ends otherwise.
        FindingError: The finding's table is missing or damaged.
        StoreError: A dataset of the finding is no longer there, or a crop does not decode.
        StorageError: The file can't be written.
    """
    file = check_sheet_path(path)
    chosen = choose_rows(storage, finding, rows)
    evidence = gather_evidence(storage, finding, chosen.rows, most=crops_a_side(finding))
    heading = f"{finding.kind} of {', '.join(finding.datasets)}: {len(evidence)} of {chosen.total}"
    sheet = draw_evidence(evidence, heading)
    form: CropFormat = "png" if file.suffix.lower() == ".png" else "jpg"
    open_storage(file.absolute().parent).write(file.name, encode_crop(sheet, form, 90))


def check_sheet_path(path: str | os.PathLike[str]) -> Path:
    """Give back a sheet's path if a picture can be written under its name.

    Commands call it before they start their work.

    Raises:
        UsageError: The name ends in something else than .png, .jpg or .jpeg.
    """
    file = Path(path)
    if file.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise UsageError(str(path), "is no name of a picture", "one that ends in .png or .jpg")
    return file


def crops_a_side(finding: Finding) -> int:
    """Give how many crops a side of a finding's evidence has room for."""
    return _A_SIDE.get(finding.kind, _BOTH_SIDES)


def split_rows(finding: Finding, rows: pa.Table) -> list[pa.Table]:
    """Split rows of a finding into those that are judged together, in the order they come.

    Clusters come by size, the samples of no cluster last.
    """
    column = TOGETHER.get(finding.kind)
    if column is None:
        return [rows.slice(i, 1) for i in range(rows.num_rows)]
    places: dict[object, list[int]] = {}
    for place, value in enumerate(rows.column(column).to_pylist()):
        places.setdefault(value, []).append(place)
    parts = [rows.take(pa.array(each)) for each in places.values()]
    if finding.kind == "clusters":
        parts.sort(key=lambda part: (part["cluster"][0].as_py() < 0, part["cluster"][0].as_py()))
    return parts
