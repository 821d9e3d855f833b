"""Ingest one dataset: raw data in, a finished dataset of the store out."""

from __future__ import annotations

import importlib.metadata
import platform
import secrets
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fusekit.cards.card import card_as_used, load_card
from fusekit.engines.local import default_workers, run_units
from fusekit.errors import SourceError, StorageError, StoreError
from fusekit.faces.detect import DetectionSettings
from fusekit.ingest.colours import check_colours
from fusekit.ingest.forgotten import blank_forgotten
from fusekit.ingest.plan import Listing, Plan, fix_plan, list_items
from fusekit.ingest.raw import check_apart, open_raw, protocol_tables, raw_root
from fusekit.ingest.result import (
    NOT_THERE,
    IngestResult,
    collect_remarks,
    compare_figures,
    result_of,
)
from fusekit.ingest.settings import (
    DEFAULT_DETECTOR,
    DEFAULT_UNIT_SIZE,
    FaceRule,
    Format,
    IngestSettings,
    Landmarks,
    Order,
    check_landmarks,
    choose_settings,
)
from fusekit.ingest.unit import Job
from fusekit.models.registry import ResolvedModel, resolve_model
from fusekit.progress import Progress, Report, silent
from fusekit.readers.lists import ListedReader
from fusekit.store import layout
from fusekit.store.commit import UnitRecord, check_shard, read_record
from fusekit.store.datasets import DatasetInfo, claim_index, finish_dataset, open_dataset
from fusekit.store.protocol import keep_protocol, spool_protocol

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence

    from pydantic import JsonValue

    from fusekit.cards.card import Card, Form
    from fusekit.readers.item import Reader
    from fusekit.storage.folder import Storage

_COUNTERS: Final = ("done", "kept", "rejected", "samples")
_LIBRARIES: Final = ("numpy", "onnxruntime", "opencv-python", "simplejpeg")


def ingest_dataset(
    dataset: str,
    *,
    raw: str | os.PathLike[str] | None = None,
    store: str | os.PathLike[str] | None = None,
    name: str | None = None,
    index: int | None = None,
    form: str | None = None,
    workers: int | None = None,
    unit_size: int = DEFAULT_UNIT_SIZE,
    fmt: Format | None = None,
    detector: str | None = None,
    faces: FaceRule | None = None,
    min_score: float | None = None,
    aligned: bool = False,
    landmarks: Landmarks = "detect",
    order: Order | None = None,
    lists: Sequence[str | os.PathLike[str]] = (),
    exclude: Sequence[str | os.PathLike[str]] = (),
    relabel: bool = False,
    options: Mapping[str, JsonValue] | None = None,
    seed: int = 0,
    dry_run: bool = False,
    report: Report = silent,
) -> IngestResult:
    """Ingest a dataset, or go on with an ingest that was stopped.

    The same raw data and settings give the same bytes with any number of workers and after any
    number of kills. A dataset that is finished already is left as it is.

    Args:
        dataset: Name of a card, or path of a card's YAML file.
        raw: The raw data; None takes ``$FUSEKIT_RAW/<dataset>``, else ``./raw/<dataset>``.
        store: Path of the store; None takes ``$FUSEKIT_STORE``, else ``./fusekit-store``.
        name: Name in the store; None takes the card's.
        index: Dataset index; None takes the card's, else the next free from 1000.
        form: Form of the raw data; None finds out by what lies there.
        workers: Processes; None takes one per processor, 0 works in this process.
        unit_size: Items in a work unit, so in a shard.
        fmt: ``jpg``, ``png`` or ``raw``; None takes jpg, and leaves aligned crops as they are.
        detector: Registry name, ``insightface/PACK`` or path of an ONNX file; None takes
            RetinaFace MobileNet-0.25.
        faces: ``best`` or ``all``; None takes the card's.
        min_score: Detector score under which a face is left out; None takes 0.6.
        aligned: The images are finished crops of the form's template: they pass through bit for
            bit, whatever the card says of the form.
        landmarks: ``given``: the source's own five points place each face, and nothing is
            detected; ``detect``: a detector finds it.
        order: ``random``: each unit is a random sample of the dataset; ``source``: units follow
            the raw data, for media that is read front to back; None takes what suits it.
        lists: Clean lists: an item that none of them names is rejected as ``unlisted``, a row
            without an item as ``missing``.
        exclude: Lists of items to leave out: they are rejected as ``unlisted``.
        relabel: Take each item's identity from the clean lists, and not from the source.
        options: Options of the form's reader, over those of the card.
        seed: Of the deal of items to units.
        dry_run: List and plan only; nothing is written.
        report: Told of progress.

    Returns:
        The counts. They add up: ``items == kept + rejected``.

    Raises:
        CardError: The card is not there or not readable.
        SourceError: The raw data is not there or of no known form.
        ModelError: The detector is not here and can't be had.
        FingerprintError: The dataset was begun with other inputs or settings.
        StoreError: The store can't be used, or another run writes this dataset.
        WorkError: Units failed; the same command goes on with them.
    """
    started = time.monotonic()
    card = load_card(dataset)
    name = layout.check_name(name or card.name, "dataset")
    root = raw_root(raw, card.name)
    card, reader = open_raw(card, root, form, options or {}, aligned=aligned)
    settings = choose_settings(
        reader, unit_size, fmt, detector, faces, min_score, landmarks, order, seed
    )
    if lists or exclude or relabel:
        reader = ListedReader(
            reader, [Path(each) for each in lists], [Path(each) for each in exclude],
            relabel=relabel,
        )  # fmt: skip
    check_apart(store, root)
    if dry_run:
        return _rehearse(name, root, reader, settings, started, report)
    model = None
    if not reader.form_spec.aligned and landmarks == "detect":
        model = resolve_model(detector or DEFAULT_DETECTOR, "detect", report)
    storage = layout.open_store(store, create=True)
    with storage.lock(name), _nothing_empty_left(storage, name):
        for folder in ("", "/plan", "/shards", "/manifest", "/rejects"):  # embeddings: embed's own
            storage.sweep(layout.dataset(name) + folder)
        listing = _list(storage, name, root, reader, report)
        try:
            check_landmarks(settings, reader, given=listing.landmarks)
            with spool_protocol(storage, name, protocol_tables(reader)) as protocol:
                index = claim_index(storage, name, card.index if index is None else index)
                job = _job(storage, root, card, reader, name, index, settings, model)
                inputs = _inputs(job, reader.form_spec) | {"protocol": protocol.digests}
                plan = fix_plan(storage, name, inputs, listing, reader.names())
                keep_protocol(storage, name, protocol)
        finally:
            listing.spool.unlink()
        info, resumed = _run(storage, job, plan, reader, workers, report)
    return result_of(info, reader, resumed, time.monotonic() - started)


def _rehearse(
    name: str,
    root: Path,
    reader: Reader,
    settings: IngestSettings,
    started: float,
    report: Report,
) -> IngestResult:
    people, count, away, placed = set(), 0, 0, False
    for count, item in enumerate(reader.items(), 1):
        if item.reject is None:
            people.add(item.identity)
        away += item.reject in NOT_THERE
        placed = placed or item.landmarks is not None
        if count % 10_000 == 0:
            report(Progress("list", count, None, "items"))
    if count == 0:
        raise SourceError(root, "no pictures were found", f"the form {reader.form!r}")
    check_landmarks(settings, reader, given=placed)
    return IngestResult(
        dataset=name, items=count, kept=0, rejected=0, samples=0,
        identities=len(people - {None}), rejects={}, seconds=time.monotonic() - started,
        form=reader.form, ignored=dict(reader.ignored()),
        units=-(-count // settings.unit_size), dry_run=True,
        figures=compare_figures(reader.form_spec, len(people - {None}), count - away),
        remarks=collect_remarks(reader, None),
    )  # fmt: skip


def _job(
    storage: Storage,
    root: Path,
    card: Card,
    reader: Reader,
    name: str,
    index: int,
    settings: IngestSettings,
    model: ResolvedModel | None,
) -> Job:
    return Job(
        store=str(storage.root.absolute()), raw=str(root.absolute()), card=card,
        form=reader.form, dataset=name, index=index, kind=card.kind,
        crop_size=reader.form_spec.crop_size, settings=settings, detector=model,
    )  # fmt: skip


def _inputs(job: Job, form: Form) -> dict[str, Any]:
    """Give everything but the items that affects the result, for the plan's fingerprint."""
    return {
        "dataset": job.dataset,
        "dataset_index": job.index,
        "card": card_as_used(job.card, form),
        "settings": job.settings.as_json(job.detector),
        "detection": asdict(DetectionSettings()) if job.detector else None,
        "versions": {} if form.aligned else _versions(),
    }


def _versions() -> dict[str, str]:
    # Floating-point kernels differ between releases and processor kinds.
    found = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    return found | {"machine": platform.machine()}


@contextmanager
def _nothing_empty_left(storage: Storage, name: str) -> Iterator[None]:
    """Take the dataset's folder away again when nothing came into it: it is no dataset."""
    try:
        yield
    finally:
        with suppress(OSError):  # it is not empty, as it should be
            storage.path(layout.dataset(name)).rmdir()


def _list(storage: Storage, name: str, root: Path, reader: Reader, report: Report) -> Listing:
    folder = storage.path(layout.dataset(name))
    folder.mkdir(parents=True, exist_ok=True)
    spool = folder / f".tmp-{secrets.token_hex(8)}"
    try:
        return list_items(reader, spool, str(root), report)
    except BaseException:
        spool.unlink(missing_ok=True)
        raise


def _run(
    storage: Storage, job: Job, plan: Plan, reader: Reader, workers: int | None, report: Report
) -> tuple[DatasetInfo, int]:
    """Do the units that are not done, then finish; give the dataset and how many stood."""
    name = job.dataset
    if storage.exists(layout.dataset_json(name)):
        with suppress(StoreError):  # damaged: made again from the units that stand
            return open_dataset(storage, name), plan.units
    done = _done_units(storage, name, plan.units)
    left = [unit for unit in range(plan.units) if unit not in done]
    tally = _Tally(plan.items, list(done.values()), report)
    tally({})
    count = default_workers() if workers is None else workers
    run_units(
        job, left,
        min(count, len(left)) if len(left) > 1 else 0,  # one alone gains nothing from a process
        counters=_COUNTERS, on_tick=tally,
    )  # fmt: skip
    blank_forgotten(storage, name, plan.units)
    info = finish_dataset(
        storage, name, units=plan.units, index=job.index, kind=job.kind,
        template=reader.form_spec.template, crop_size=job.crop_size, identities=plan.identities,
        plan=plan.fingerprint, form=job.form, card=card_as_used(job.card, reader.form_spec),
        settings=job.settings.as_json(job.detector),
        versions={} if reader.form_spec.aligned else _versions(),
        ignored=dict(reader.ignored()),
        colours=check_colours(storage, name, plan.units) if reader.form_spec.aligned else None,
    )  # fmt: skip
    return info, len(done)


def _done_units(storage: Storage, name: str, units: int) -> dict[int, UnitRecord]:
    """Find the units that stand whole; one that is damaged is done again."""
    done = {}
    for unit in range(units):
        try:
            record = read_record(storage, name, unit)
            if record is not None:
                check_shard(storage, name, record)
                done[unit] = record
        except (StoreError, StorageError):
            continue
    return done


class _Tally:
    """Add what this run's workers count to what stood before it, and report."""

    def __init__(self, items: int, stood: list[UnitRecord], report: Report) -> None:
        self.items, self.report = items, report
        self.before = {
            "done": sum(r.items for r in stood),
            "kept": sum(r.kept for r in stood),
            "rejected": sum(r.rejected for r in stood),
            "samples": sum(r.samples for r in stood),
        }

    def __call__(self, counts: dict[str, int]) -> None:
        now = {name: self.before[name] + counts.get(name, 0) for name in _COUNTERS}
        self.report(Progress("ingest", now.pop("done"), self.items, "items", now))
