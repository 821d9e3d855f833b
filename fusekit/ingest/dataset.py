"""Ingest one dataset: raw data in, a finished dataset of the store out."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import secrets
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fusekit.cards.card import card_as_used, load_card, with_finished_crops, with_options
from fusekit.engines.local import default_workers, run_units
from fusekit.errors import SourceError, StorageError, StoreError, UsageError
from fusekit.faces.detect import DetectionSettings
from fusekit.ingest.colours import check_colours
from fusekit.ingest.plan import Listing, Plan, fix_plan, list_items
from fusekit.ingest.settings import (
    DEFAULT_DETECTOR,
    DEFAULT_UNIT_SIZE,
    FaceRule,
    Format,
    IngestSettings,
    Landmarks,
    Order,
)
from fusekit.ingest.unit import Job
from fusekit.models.registry import ResolvedModel, resolve_model
from fusekit.progress import Progress, Report, silent
from fusekit.readers.item import EvaluationReader, RemarkingReader
from fusekit.readers.lists import ListedReader
from fusekit.readers.registry import open_reader
from fusekit.storage import open_storage
from fusekit.store import layout
from fusekit.store.commit import UnitRecord, check_shard, read_record
from fusekit.store.datasets import DatasetInfo, claim_index, finish_dataset, open_dataset
from fusekit.store.protocol import keep_protocol, spool_protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa
    from pydantic import JsonValue

    from fusekit.cards.card import Card, Form
    from fusekit.readers.item import Reader
    from fusekit.storage import Storage

RAW_VARIABLE: Final = "FUSEKIT_RAW"
_NOT_THERE: Final = ("missing", "not_downloaded")  # items that are rows of a list and no images
_COUNTERS: Final = ("done", "kept", "rejected", "samples")
_LIBRARIES: Final = ("numpy", "onnxruntime", "opencv-python", "simplejpeg")


@dataclass(frozen=True)
class IngestResult:
    """What an ingest gave; ``items == kept + rejected``.

    Attributes:
        dataset: Name in the store.
        items: Raw items.
        kept: Items that gave at least one sample.
        rejected: Items that gave none.
        samples: Stored crops.
        identities: Distinct identities of the source.
        rejects: Reason to count.
        faces_left_out: Faces of kept items that are no samples.
        ignored: What the reader passed over that is no item.
        form: Form of the raw data.
        units: Work units; ``resumed`` of them stood already.
        resumed: Units that an earlier run had done.
        seconds: Of this run.
        figures: ``identities`` and ``images``: how many are ``here``, were ``published`` for this
            form (None: not published), and their ``difference``. Never an error.
        protocol: An evaluation set's tables, each with its number of rows.
        colours: Of aligned crops, how red and blue lie in them; None: not looked at.
        remarks: What a user should know of the raw data, one sentence each.
        dry_run: True when nothing was written and only the listing is known.
    """

    dataset: str
    items: int
    kept: int
    rejected: int
    samples: int
    identities: int
    rejects: dict[str, int]
    seconds: float
    form: str
    faces_left_out: int = 0
    ignored: dict[str, int] = field(default_factory=dict)
    units: int = 0
    resumed: int = 0
    figures: dict[str, dict[str, int | None]] = field(default_factory=dict)
    protocol: dict[str, int] = field(default_factory=dict)
    colours: dict[str, Any] | None = None
    remarks: list[str] = field(default_factory=list)
    dry_run: bool = False

    def as_json(self) -> dict[str, Any]:
        """Give it as the object that ``fusekit ingest --json`` prints."""
        return asdict(self) | {"seconds": round(self.seconds, 3)}


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
    root = _raw_root(raw, card.name)
    card, reader = _open_reader(card, root, form, options or {}, aligned=aligned)
    settings = _settings(reader, unit_size, fmt, detector, faces, min_score, landmarks, order, seed)
    if lists or exclude or relabel:
        reader = ListedReader(
            reader, [Path(each) for each in lists], [Path(each) for each in exclude],
            relabel=relabel,
        )  # fmt: skip
    _check_apart(store, root)
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
            _check_landmarks(settings, reader, given=listing.landmarks)
            with spool_protocol(storage, name, _tables(reader)) as protocol:
                index = claim_index(storage, name, card.index if index is None else index)
                job = _job(storage, root, card, reader, name, index, settings, model)
                inputs = _inputs(job, reader.form_spec) | {"protocol": protocol.digests}
                plan = fix_plan(storage, name, inputs, listing, reader.names())
                keep_protocol(storage, name, protocol)
        finally:
            listing.spool.unlink()
        info, resumed = _run(storage, job, plan, reader, workers, report)
    return _result(info, reader, resumed, time.monotonic() - started)


def _raw_root(raw: str | os.PathLike[str] | None, card: str) -> Path:
    if raw is not None and not os.fspath(raw):  # an unset variable, not the current folder
        raise UsageError("--from", "is empty", "the place of the raw data")
    given = Path(raw) if raw is not None else Path(os.environ.get(RAW_VARIABLE, "raw")) / card
    root = given.expanduser()
    if not root.exists():
        fix = None if raw is not None else f"give it with --from, or lay it at {given}"
        raise SourceError(given, "there is no raw data here", None, fix)
    return root


def _check_apart(store: str | os.PathLike[str] | None, root: Path) -> None:
    """Refuse a store inside the raw folder: its own files would be read as pictures."""
    where = layout.store_place(store)
    if open_storage(where).root.resolve().is_relative_to(root.resolve()):
        raise StoreError(
            where, f"lies inside the raw data {root}", "a place outside of it",
            "give another with --store",
        )  # fmt: skip


def _open_reader(
    card: Card, root: Path, form: str | None, options: Mapping[str, JsonValue], *, aligned: bool
) -> tuple[Card, Reader]:
    """Open the raw data; what is said over the card goes into the card as used."""
    if not (options or aligned):
        return card, open_reader(card, root, form)
    if form is None:
        form = open_reader(card, root).form if len(card.forms) > 1 else card.resolved()[0].name
    card = with_options(card, form, options)
    card = with_finished_crops(card, form) if aligned else card
    return card, open_reader(card, root, form)


def _tables(reader: Reader) -> Mapping[str, Iterator[pa.RecordBatch]]:
    return reader.tables() if isinstance(reader, EvaluationReader) else {}


def _settings(
    reader: Reader,
    unit_size: int,
    fmt: Format | None,
    detector: str | None,
    faces: FaceRule | None,
    min_score: float | None,
    landmarks: Landmarks,
    order: Order | None,
    seed: int,
) -> IngestSettings:
    form = reader.form_spec
    order = order or ("source" if reader.front_to_back else "random")
    if form.aligned:
        asked = {
            "--format": fmt, "--detector": detector, "--faces": faces, "--min-score": min_score,
            "--landmarks": None if landmarks == "detect" else landmarks,
        }  # fmt: skip
        for option, value in asked.items():
            if value is not None:
                raise UsageError(
                    option, f"the form {form.name!r} holds aligned crops", None,
                    "they pass through as they are; leave the option out",
                )  # fmt: skip
        return IngestSettings(unit_size=unit_size, seed=seed, format=None, order=order)
    if landmarks == "given":
        for option, value in {
            "--detector": detector, "--faces": faces, "--min-score": min_score,
        }.items():  # fmt: skip
            if value is not None:
                raise UsageError(
                    option, "nothing is detected with --landmarks given", None, "leave one out"
                )
    defaults = IngestSettings()
    return IngestSettings(
        unit_size=unit_size,
        seed=seed,
        format=fmt or "jpg",
        faces=faces or form.faces,
        min_score=defaults.min_score if min_score is None else min_score,
        landmarks=landmarks,
        order=order,
    )


def _check_landmarks(settings: IngestSettings, reader: Reader, *, given: bool) -> None:
    """Refuse landmarks that are not there, before every item is rejected for it."""
    if settings.landmarks == "given" and not given:
        raise UsageError(
            "--landmarks", f"no item of the form {reader.form!r} comes with any here", None,
            "leave the option out: faces are then detected",
        )  # fmt: skip


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
        away += item.reject in _NOT_THERE
        placed = placed or item.landmarks is not None
        if count % 10_000 == 0:
            report(Progress("list", count, None, "items"))
    if count == 0:
        raise SourceError(root, "no pictures were found", f"the form {reader.form!r}")
    _check_landmarks(settings, reader, given=placed)
    return IngestResult(
        dataset=name, items=count, kept=0, rejected=0, samples=0,
        identities=len(people - {None}), rejects={}, seconds=time.monotonic() - started,
        form=reader.form, ignored=dict(reader.ignored()),
        units=-(-count // settings.unit_size), dry_run=True,
        figures=_figures(reader.form_spec, len(people - {None}), count - away),
        remarks=_remarks(reader, None),
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


def _figures(form: Form, identities: int, images: int) -> dict[str, dict[str, int | None]]:
    return {
        name: {
            "here": here,
            "published": published,
            "difference": None if published is None else here - published,
        }
        for name, here, published in (
            ("identities", identities, form.identities), ("images", images, form.images),
        )
    }  # fmt: skip


def _remarks(reader: Reader, colours: dict[str, Any] | None) -> list[str]:
    remarks = list(reader.remarks()) if isinstance(reader, RemarkingReader) else []
    if colours and colours["swapped"]:
        remarks.append(
            f"red and blue look swapped: {colours['bluer']:.0%} of {colours['images']} crops are "
            "bluer than red, where faces are redder; nothing was changed"
        )
    return remarks


def _result(info: DatasetInfo, reader: Reader, resumed: int, seconds: float) -> IngestResult:
    images = info.items - sum(info.rejects.get(reason, 0) for reason in _NOT_THERE)
    return IngestResult(
        dataset=info.name, items=info.items, kept=info.kept, rejected=info.rejected,
        samples=info.samples, identities=info.identities, rejects=info.rejects, seconds=seconds,
        form=info.form, faces_left_out=info.faces_left_out, ignored=info.ignored,
        units=info.units, resumed=resumed,
        figures=_figures(reader.form_spec, info.identities, images), colours=info.colours,
        protocol=info.protocol, remarks=_remarks(reader, info.colours),
    )  # fmt: skip
