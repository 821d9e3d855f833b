"""One unit of an ingest, from its items to its commit: read, detect, choose, align, encode.

``run_unit`` is a pure function of files: the same raw data, plan and job give the same bytes in
any process, in any order, after any number of kills.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

from fusekit.engines.local import tick
from fusekit.errors import ItemError
from fusekit.faces.align import align_face
from fusekit.faces.choose import choose_face
from fusekit.faces.detect import Detector, open_detector
from fusekit.faces.image import decode_image, encode_crop, jpeg_quality, sniff
from fusekit.faces.quality import estimate_yaw, eye_distance, measure_crop
from fusekit.fingerprint import digest16
from fusekit.ingest.forgotten import FORGOTTEN, check_bytes, check_source, forgotten_row
from fusekit.readers.item import Item
from fusekit.readers.registry import open_reader
from fusekit.schema import PLAN_SCHEMA
from fusekit.store import layout
from fusekit.store.commit import UnitRecord, UnitWriter
from fusekit.store.layout import open_store
from fusekit.store.tables import read_table
from fusekit.store.tombstones import listing_of, read_tombstones

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusekit.cards.card import Card
    from fusekit.faces.detect import Faces
    from fusekit.ingest.settings import IngestSettings
    from fusekit.models.registry import ResolvedModel
    from fusekit.readers.item import Reader

_DECIMALS: Final = 3  # of coordinates, in JSON and Parquet alike
_SCORE_DECIMALS: Final = 4
_PASSED_THROUGH: Final = ("jpg", "png")
#: Bytes of a crop that passes through: its pixels at 16 bits with room, and profiles and tags. A
#: picture with a gibibyte behind its end would fill a shard.
_MOST_OF_PIXEL, _MOST_BESIDE = 16, 1 << 20


@dataclass(frozen=True)
class Job:
    """What every unit of a run needs, picklable; paths are not part of any result.

    Attributes:
        store: Path of the store.
        raw: Path of the raw data.
        card: The dataset's card.
        form: Name of the form of the raw data.
        dataset: Name in the store.
        index: Dataset index.
        kind: labeled, unlabeled or evaluation.
        crop_size: Width and height of the crops, in pixels.
        settings: All that changes the result.
        detector: None where aligned crops pass through, or landmarks are given.
    """

    store: str
    raw: str
    card: Card
    form: str
    dataset: str
    index: int
    kind: str
    crop_size: tuple[int, int]
    settings: IngestSettings
    detector: ResolvedModel | None

    def __call__(self, unit: int) -> UnitRecord:
        """Run one unit."""
        return run_unit(unit, self)


@dataclass(frozen=True)
class Sample:
    """One crop of an item, encoded, with the columns that depend on the face."""

    image: bytes
    face: int
    columns: dict[str, Any]


@dataclass(frozen=True)
class FaceReject:
    """A face left out, or the item's own reject when ``face`` columns are None."""

    reason: str
    detail: str
    bbox: list[float] | None = None
    det_score: float | None = None


def run_unit(unit: int, job: Job) -> UnitRecord:
    """Ingest the items of one unit and commit them.

    Args:
        unit: Its number in the plan.
        job: What the run is.

    Returns:
        The unit's record; ``items == kept + rejected``.

    Raises:
        StorageError: The plan or the shard can't be read or written.
        StoreError: The shard would pass 1 GiB.
        SourceError: The raw data as a whole is gone.
    """
    cv2.setNumThreads(0)
    storage = open_store(job.store)
    rows = read_table(storage, layout.plan_part(job.dataset, unit), PLAN_SCHEMA).to_pylist()
    reader = _reader(job.card, job.raw, job.form)
    detector = None if job.detector is None else _detector(job.detector)
    tombstones = read_tombstones(storage)
    listing = listing_of(storage, job.dataset) if tombstones else ""
    with UnitWriter(storage, job.dataset, unit) as writer:
        for row in rows:
            item = _item(row)
            data = b""  # the last one's are let go first: two large ones need not be held
            try:
                check_source(tombstones, job.dataset, listing, item)
                data = _read(reader, item)
                check_bytes(tombstones, data, item)
                samples, left_out = make_samples(data, item, job, detector)
            except ItemError as error:
                samples, left_out = [], [FaceReject(error.reason, error.found)]
            tick(done=1, kept=bool(samples), rejected=not samples, samples=len(samples))
            for sample in samples:
                writer.add(sample.image, _manifest_row(row, data, sample, job))
            level = "face" if samples else "item"
            for reject in _of_level(left_out, level):
                if reject.reason == FORGOTTEN:
                    writer.reject(forgotten_row(item))
                    continue
                writer.reject({
                    "source": item.source, "level": level, "reason": reject.reason,
                    "detail": reject.detail, "identity": item.identity, "bbox": reject.bbox,
                    "det_score": reject.det_score, "url": item.url,
                })  # fmt: skip
        return writer.commit(len(rows))


def _read(reader: Reader, item: Item) -> bytes:
    if item.reject is not None:
        raise ItemError(item.reject, item.source, item.reject_detail or "")
    data = reader.read(item)
    if len(data) != item.size:  # else the plan's fingerprint would vouch for other data
        found = f"has {len(data)} bytes, {item.size} when it was listed"
        raise ItemError("unreadable", item.source, found)
    return data


def make_samples(
    data: bytes, item: Item, job: Job, detector: Detector | None
) -> tuple[list[Sample], list[FaceReject]]:
    """Turn one item's bytes into samples.

    Args:
        data: The raw item.
        item: What the reader knows of it.
        job: What the run is.
        detector: None passes an aligned crop through, bit for bit, or aligns by the source's own
            landmarks, as the settings say.

    Returns:
        Samples, left to right, and the faces that were left out. Without samples the first
        reject tells why the item gave none.

    Raises:
        ItemError: The bytes are no image that can be used.
    """
    settings = job.settings
    if settings.landmarks == "given":
        return [_place_given(data, item, job)], []
    if detector is None:
        return [_pass_through(data, item, job)], []
    image = decode_image(data, item.source, settings.max_pixels)
    faces = detector.detect(image)
    usable, left_out = [], []
    for number in range(len(faces.scores)):
        reason = _unusable(faces, number, settings)
        if reason is None:
            usable.append(number)
        else:
            left_out.append(_left_out(faces, number, *reason))
    if not usable:
        left_out.sort(key=lambda reject: -(reject.det_score or 0.0))
        return [], left_out or [FaceReject("no_face", "no face was found")]
    hint_iou: float | None = None
    if settings.faces == "best":
        taken, hint_iou = _choose(faces, usable, image.shape, item)
        left_out += [
            _left_out(faces, n, "not_chosen", f"face {taken} was taken")
            for n in usable
            if n != taken
        ]
        usable = [taken]
    return [_crop(image, faces, n, hint_iou, data, job) for n in usable], left_out


def _place_given(data: bytes, item: Item, job: Job) -> Sample:
    if item.landmarks is None:
        raise ItemError("no_landmarks", item.source, "the source gives no landmarks for it")
    landmarks = _rounded(np.array(item.landmarks))
    points = np.array(landmarks).reshape(5, 2)
    eyes = eye_distance(points)
    if not eyes >= job.settings.min_eye_distance:  # also where a coordinate is no number
        found = f"{eyes:.1f} px between the eyes, under {job.settings.min_eye_distance:g}"
        raise ItemError("face_too_small", item.source, found)
    image = decode_image(data, item.source, job.settings.max_pixels)
    crop = align_face(image, points, job.crop_size[0])
    form = job.settings.format or "jpg"
    columns = {
        "format": form, "width": crop.shape[1], "height": crop.shape[0], "det_score": None,
        "bbox": None if item.bbox is None else _rounded(np.array(item.bbox)),
        "landmarks": landmarks, "face_count": -1, "eye_distance": eyes,
        "yaw": estimate_yaw(points), "hint_iou": None, **_measured(crop),
        "jpeg_quality": jpeg_quality(data),
    }  # fmt: skip
    return Sample(encode_crop(crop, form, job.settings.jpeg_quality), 0, columns)


def _pass_through(data: bytes, item: Item, job: Job) -> Sample:
    crop = decode_image(data, item.source, job.settings.max_pixels)
    height, width = crop.shape[:2]
    if (width, height) != job.crop_size:
        wanted = "x".join(map(str, job.crop_size))
        raise ItemError("wrong_size", item.source, f"{width}x{height}, the card says {wanted}")
    most = _MOST_OF_PIXEL * width * height + _MOST_BESIDE
    if len(data) > most:
        found = f"{len(data)} bytes for {width}x{height} pixels, more than {most}"
        raise ItemError("too_large", item.source, found)
    form = sniff(data) or ""
    if form not in _PASSED_THROUGH:  # stored without loss where shards can't hold the file type
        data, form = encode_crop(crop, "png"), "png"
    columns = {
        "format": form, "width": width, "height": height, "det_score": None, "bbox": None,
        "landmarks": None, "face_count": -1, "eye_distance": None, "yaw": None, "hint_iou": None,
        **_measured(crop),
    }  # fmt: skip
    return Sample(data, 0, columns | {"jpeg_quality": jpeg_quality(data)})


def _crop(
    image: np.ndarray[Any, Any],
    faces: Faces,
    number: int,
    hint_iou: float | None,
    data: bytes,
    job: Job,
) -> Sample:
    landmarks = _rounded(faces.landmarks[number])
    points = np.array(landmarks).reshape(5, 2)  # rounded first: the manifest reproduces the crop
    crop = align_face(image, points, job.crop_size[0])
    form = job.settings.format or "jpg"
    columns = {
        "format": form, "width": crop.shape[1], "height": crop.shape[0],
        "det_score": round(float(faces.scores[number]), _SCORE_DECIMALS),
        "bbox": _rounded(faces.boxes[number]), "landmarks": landmarks,
        "face_count": len(faces.scores), "eye_distance": eye_distance(points),
        "yaw": estimate_yaw(points), "hint_iou": hint_iou, **_measured(crop),
        "jpeg_quality": jpeg_quality(data),
    }  # fmt: skip
    return Sample(encode_crop(crop, form, job.settings.jpeg_quality), number, columns)


def _measured(crop: np.ndarray[Any, Any]) -> dict[str, Any]:
    quality = measure_crop(crop)
    return {
        "sharpness": quality.sharpness,
        "brightness": quality.brightness,
        "channels": quality.channels,
    }


def _unusable(faces: Faces, number: int, settings: IngestSettings) -> tuple[str, str] | None:
    score = float(faces.scores[number])
    if score < settings.min_score:
        return "low_score", f"score {score:.2f} under {settings.min_score:g}"
    eyes = eye_distance(faces.landmarks[number])
    if eyes < settings.min_eye_distance:
        return (
            "face_too_small",
            f"{eyes:.1f} px between the eyes, under {settings.min_eye_distance:g}",
        )
    return None


def _choose(
    faces: Faces, usable: list[int], shape: tuple[int, ...], item: Item
) -> tuple[int, float | None]:
    subset = replace(
        faces,
        boxes=faces.boxes[usable],
        scores=faces.scores[usable],
        landmarks=faces.landmarks[usable],
    )
    box = None if item.bbox is None else np.array(item.bbox)
    points = None if item.landmarks is None else np.array(item.landmarks).reshape(5, 2)
    at, iou = choose_face(subset, (shape[1], shape[0]), box, points)
    return usable[at], iou


def _left_out(faces: Faces, number: int, reason: str, detail: str) -> FaceReject:
    score = round(float(faces.scores[number]), _SCORE_DECIMALS)
    return FaceReject(reason, detail, _rounded(faces.boxes[number]), score)


def _of_level(left_out: list[FaceReject], level: str) -> Iterator[FaceReject]:
    # An item that gave nothing is one reject: its best face's reason stands for it.
    yield from left_out if level == "face" else left_out[:1]


def _manifest_row(row: dict[str, Any], data: bytes, sample: Sample, job: Job) -> dict[str, Any]:
    return {
        "key": layout.sample_key(row["source"], sample.face),
        "dataset": job.dataset,
        "dataset_index": job.index,
        "kind": job.kind,
        "source_digest": digest16(data),
        "content_digest": digest16(sample.image),
        **{n: row[n] for n in ("identity", "identity_index", "source", "split")},
        **{n: row[n] for n in ("media", "time_ms", "frame", "video", "url")},
        **sample.columns,
    }


def _rounded(values: np.ndarray[Any, Any]) -> list[float]:
    return [round(float(v), _DECIMALS) for v in values.ravel()]


def _item(row: dict[str, Any]) -> Item:
    return Item(
        source=row["source"], size=row["size"], identity=row["identity"], split=row["split"],
        offset=row["offset"], bbox=row["bbox"], landmarks=row["landmarks"], media=row["media"],
        time_ms=row["time_ms"], frame=row["frame"], video=row["video"], url=row["url"],
        reject=row["reject"], reject_detail=row["reject_detail"],
    )  # fmt: skip


@lru_cache(maxsize=4)
def _detector(model: ResolvedModel) -> Detector:
    return open_detector(model)  # once per process: loading weights costs more than a crop


_readers: dict[tuple[str, str, str], Reader] = {}


def _reader(card: Card, raw: str, form: str) -> Reader:
    key = (card.name, raw, form)
    if key not in _readers:
        _readers.clear()
        _readers[key] = open_reader(card, Path(raw), form)
    return _readers[key]
