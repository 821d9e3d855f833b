"""Export a mixture: everything is checked, then written aside, and appears whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

from fusekit.errors import MixtureError, StorageError
from fusekit.export.folders import check_folders, write_folders
from fusekit.export.identities import write_identities
from fusekit.export.lmdb import check_lmdb, write_lmdb
from fusekit.export.parquet import write_parquet
from fusekit.export.part import Part, PartName, select_part
from fusekit.export.recordio import check_recordio, write_recordio
from fusekit.export.result import (
    RECORD,
    ExportResult,
    State,
    check_place,
    read_record,
    record_of,
    write_record,
)
from fusekit.export.webdataset import write_webdataset
from fusekit.mixture.mixture import Mixture
from fusekit.progress import Report, silent
from fusekit.storage.folder import Storage, writing_folder
from fusekit.store import layout
from fusekit.store.layout import open_store

if TYPE_CHECKING:
    from collections.abc import Callable

ExportFormat: TypeAlias = Literal["recordio", "folders", "parquet", "lmdb", "webdataset"]


class _Format(NamedTuple):
    """How a format checks a part before anything is written, giving remarks, and writes it."""

    check: Callable[[Part], list[str]]
    write: Callable[[Part, Storage, Report], None]


def _takes_all(part: Part) -> list[str]:  # noqa: ARG001 - every format is asked the same way
    return []


_FORMATS: Final[dict[ExportFormat, _Format]] = {
    "recordio": _Format(check_recordio, write_recordio),
    "folders": _Format(check_folders, write_folders),
    "parquet": _Format(_takes_all, write_parquet),
    "lmdb": _Format(check_lmdb, write_lmdb),
    "webdataset": _Format(_takes_all, write_webdataset),
}


def export_mixture(
    name: str,
    out: str | os.PathLike[str],
    fmt: ExportFormat,
    *,
    part: PartName = "labeled",
    store: str | os.PathLike[str] | None = None,
    dry_run: bool = False,
    report: Report = silent,
) -> ExportResult:
    """Write a part of a mixture in a format that other trainers read.

    Images are bit for bit those of the store, but for those that the mixture brings to another
    template and for raw pixels: these become PNG. The same mixture gives the same bytes; an export
    that is there already is left alone. A run that was stopped leaves nothing under ``out``.

    Args:
        name: The mixture's name in the store, or its folder.
        out: The folder to write: none is there, or an empty one.
        fmt: ``recordio``, ``folders``, ``parquet``, ``lmdb`` or ``webdataset``.
        part: ``labeled`` or ``unlabeled``.
        store: The store's path; None takes ``FUSEKIT_STORE``, else ``./fusekit-store``.
        dry_run: Tell what would be written and write nothing.
        report: Told of the progress.

    Returns:
        What the export holds.

    Raises:
        MixtureError: There is no such mixture, or the format can't hold it.
        StoreError: A shard is damaged, or another process writes there.
        StorageError: ``out`` holds something else, or the disk is full.
        UsageError: ``out`` lies in the store.
        MissingExtraError: The format needs a package that is not installed.

    Example:
        >>> export_mixture("demo", "demo-rec", "recordio").images  # doctest: +SKIP
        60
    """
    mixture = _open(name, store)
    chosen, form = select_part(mixture, part), _FORMATS[fmt]
    place = check_place(Path(out), mixture.store)
    remarks = form.check(chosen) + _remarks(chosen)

    def result(state: State) -> ExportResult:
        return ExportResult(
            mixture=mixture.name, format=fmt, part=part, out=os.fspath(out), state=state,
            images=len(chosen.rows), classes=chosen.num_classes,
            bytes=chosen.stored_bytes, erased=chosen.erased, as_png=chosen.as_png,
            fingerprint=mixture.fingerprint, remarks=remarks,
        )  # fmt: skip

    about = record_of(
        result("written"),
        template=mixture.template,
        crop_size=list(mixture.crop_size),
        sources=_sources(chosen),
    )
    if _is_there(place, about):
        return result("unchanged")
    if dry_run:
        return result("dry run")
    with writing_folder(place) as target:
        form.write(chosen, target, report)
        if part == "labeled":
            write_identities(chosen, target)
        write_record(target, RECORD, about)
    return result("written")


def _open(name: str, store: str | os.PathLike[str] | None) -> Mixture:
    folder = Path(name).expanduser()
    if folder.name == name and not (folder / "mixture.json").is_file():
        storage = open_store(store)
        made = storage.exists(f"{layout.mixture(name)}/mixture.json")
        if not made and storage.exists(layout.dataset_json(name)):
            raise MixtureError(
                name, "is a dataset", "a mixture",
                "fusekit build-mixture makes one of it; pairs of evaluation sets are --format bin",
            )  # fmt: skip
    return Mixture.open(name, store)


def _is_there(place: Path, about: dict[str, Any]) -> bool:
    """Say whether the same export is there.

    Raises:
        StorageError: Something else is.
    """
    try:
        if not place.is_dir():
            if place.exists():
                raise StorageError(place, "is a file", "a new or empty folder")
            return False
        if not any(place.iterdir()):
            return False
    except OSError as error:
        raise StorageError(place, f"can't be read ({error.strerror})") from None
    there = read_record(place / RECORD)
    if there == about:
        return True
    found = "is not empty" if there is None else "holds another export"
    raise StorageError(place, found, "a new or empty folder")


def _sources(part: Part) -> list[dict[str, Any]]:
    return [
        {
            "dataset": source.name, "source_index": source.index,
            "dataset_index": source.store_index, "fingerprint": source.fingerprint,
        }
        for source in part.mixture.sources
        if source.kind == part.name
    ]  # fmt: skip


def _remarks(part: Part) -> list[str]:
    remarks, other = [], part.mixture.unlabeled if part.name == "labeled" else part.mixture.labeled
    if other:
        name = "unlabeled" if part.name == "labeled" else "labeled"
        remarks.append(f"the {other} {name} samples are another export: --part {name}")
    if part.erased:
        remarks.append(f"{part.erased} samples are left out: their images were erased")
    if part.raw:
        remarks.append(f"{part.raw} raw crops become PNG files of the same pixels")
    if part.rewarped:
        template = part.mixture.template
        remarks.append(f"{part.rewarped} crops are brought to {template}, and become PNG files")
    return remarks
