"""Lay the demo's raw data on disk, each dataset in the form its makers give it.

A person has one or two photographs, so their pictures are different framings of these: scale,
place, turn, mirror, light and JPEG quality drawn from :mod:`fusekit.rng`. Crowded frames show
their neighbours too, as loose crops of real datasets do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
import simplejpeg

from fusekit.demo.photographs import NO_FACE, PEOPLE, Person, Photograph, find
from fusekit.errors import SourceError
from fusekit.faces.align import align_face
from fusekit.faces.detect import Detector, Faces, open_detector
from fusekit.faces.image import RgbImage, decode_image
from fusekit.formats.recordio_writer import write_pack
from fusekit.models.registry import resolve_model
from fusekit.progress import Progress, Report, silent
from fusekit.rng import derive

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

IMAGES_A_PERSON: Final = 8
FRAMES_OF_A_STRANGER: Final = 3
_FOLDERS: Final = ("vggface2", "faces_demo_112x112", "crawl")


@dataclass(frozen=True)
class Framing:
    """How one picture is cut from a photograph.

    Attributes:
        scale: Side of the picture over the longer side of the face's box.
        shift: Of the picture's centre, in shares of that side, ``(x, y)``.
        turn: Degrees.
        mirror: Left and right exchanged.
        light: Factor on every pixel.
        quality: Of the JPEG.
    """

    scale: float
    shift: tuple[float, float]
    turn: float
    mirror: bool
    light: float
    quality: int


def draw_framing(*key: str | int) -> Framing:
    """Draw a framing; the same key gives the same one."""
    draws = [derive(*key, i) / 2**64 for i in range(7)]
    return Framing(
        scale=1.5 + 0.9 * draws[0],
        shift=(0.16 * draws[1] - 0.08, 0.16 * draws[2] - 0.08),
        turn=24 * draws[3] - 12,
        mirror=draws[4] < 0.5,
        light=0.8 + 0.35 * draws[5],
        quality=78 + int(18 * draws[6]),
    )


def build_raw(folder: Path, report: Report = silent) -> dict[str, Path]:
    """Build the demo's three raw datasets.

    Args:
        folder: Where; an earlier demo's files are written again, to the same bytes.
        report: Told of downloads and progress.

    Returns:
        ``vggface2``: a tree with ``train/nNNNNNN`` folders and ``identity_meta.csv``;
        ``recordio``: an InsightFace pack of aligned crops; ``unlabeled``: a flat folder.

    Raises:
        MissingExtraError: A package that ships photographs is not installed.
        ModelError: The detector or the photographs can't be had.
        SourceError: A photograph shows another number of faces than the demo knows.
    """
    detector = open_detector(resolve_model("retinaface-mnet025", "detect", report))
    studio = _Studio(detector, report)
    tree, pack, crawl = (folder / name for name in _FOLDERS)
    builders: tuple[Callable[[], None], ...] = (
        lambda: _build_tree(tree, studio),
        lambda: _build_pack(pack, studio),
        lambda: _build_crawl(crawl, studio),
    )
    for done, build in enumerate(builders):
        report(Progress("build the raw data", done, len(builders), "datasets"))
        build()
    report(Progress("build the raw data", len(builders), len(builders), "datasets"))
    return {"vggface2": tree, "recordio": pack, "unlabeled": crawl}


class _Studio:
    """Open each photograph and find its faces once."""

    def __init__(self, detector: Detector, report: Report) -> None:
        self._detector, self._report = detector, report
        self._seen: dict[tuple[str, str], tuple[RgbImage, Faces]] = {}

    def open(self, photograph: Photograph) -> tuple[RgbImage, Faces]:
        key = (photograph.package, photograph.path)
        if key not in self._seen:
            path = find(photograph, self._report)
            image = decode_image(path.read_bytes(), path.name)
            # A tight portrait is given room, so that its framings have borders to move in.
            border = max(image.shape) // 4 if max(image.shape) < 200 else 0
            image = cv2.copyMakeBorder(image, border, border, border, border, cv2.BORDER_REPLICATE)
            faces = self._detector.detect(image)
            sure = np.flatnonzero(faces.scores >= 0.9)
            faces = Faces(faces.boxes[sure], faces.scores[sure], faces.landmarks[sure])
            self._seen[key] = image, faces
        image, faces = self._seen[key]
        if len(faces.scores) <= photograph.face:
            raise SourceError(
                photograph.path, f"{len(faces.scores)} faces were found",
                f"at least {photograph.face + 1}",
            )  # fmt: skip
        return image, faces

    def frame(self, photograph: Photograph, framing: Framing) -> RgbImage:
        """Cut a picture around a face."""
        image, faces = self.open(photograph)
        x0, y0, x1, y1 = (float(v) for v in faces.boxes[photograph.face])
        side = framing.scale * max(x1 - x0, y1 - y0)
        size = int(min(max(side, 120), 260))
        centre = (
            (x0 + x1) / 2 + framing.shift[0] * side,
            (y0 + y1) / 2 + framing.shift[1] * side,
        )
        matrix = cv2.getRotationMatrix2D(centre, framing.turn, size / side)
        matrix[:, 2] += size / 2 - np.array(centre)
        picture = cv2.warpAffine(
            image, matrix, (size, size), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE
        )
        return _lit(picture, framing)

    def crop(self, photograph: Photograph, framing: Framing) -> RgbImage:
        """Align a face to the ArcFace template, with the small errors that detectors make."""
        image, faces = self.open(photograph)
        points = faces.landmarks[photograph.face].astype(np.float64)
        eyes = float(np.linalg.norm(points[1] - points[0]))
        jitter = np.array(framing.shift) * 0.25 * eyes
        return _lit(align_face(image, points + jitter), framing)


def _lit(picture: RgbImage, framing: Framing) -> RgbImage:
    if framing.mirror:
        picture = picture[:, ::-1]
    return np.ascontiguousarray(np.clip(picture * framing.light, 0, 255).astype(np.uint8))


def _jpeg(picture: RgbImage, quality: int) -> bytes:
    data: bytes = simplejpeg.encode_jpeg(picture, quality=quality, colorsubsampling="420")
    return data


def _pictures(person: Person) -> list[tuple[Photograph, Framing]]:
    shots = person.photographs
    return [
        (shots[i % len(shots)], draw_framing("demo", person.name, i))
        for i in range(IMAGES_A_PERSON)
    ]


def _build_tree(tree: Path, studio: _Studio) -> None:
    rows = ["Class_ID, Name, Sample_Num, Flag, Gender"]
    for person in PEOPLE:
        if person.vggface2 is None:
            continue
        folder = tree / "train" / person.vggface2
        folder.mkdir(parents=True, exist_ok=True)
        for number, (shot, framing) in enumerate(_pictures(person), 1):
            data = _jpeg(studio.frame(shot, framing), framing.quality)
            (folder / f"{number:04d}_01.jpg").write_bytes(data)
        rows.append(f'{person.vggface2}, "{person.name}", {IMAGES_A_PERSON}, 1, {person.gender}')
    (tree / "identity_meta.csv").write_text("\n".join(rows) + "\n")


def _build_pack(pack: Path, studio: _Studio) -> None:
    pack.mkdir(parents=True, exist_ok=True)
    people = sorted((p for p in PEOPLE if p.label is not None), key=_label)
    images = [
        (_label(person), _jpeg(studio.crop(shot, framing), framing.quality))
        for person in people
        for shot, framing in _pictures(person)
    ]
    write_pack(pack, images, len(people))
    # The same people as in the tree, spelt otherwise, as in real releases.
    names = [f"{_label(p)}\t{p.name.replace('_', ' ').lower()}\n" for p in people]
    (pack / "names.txt").write_text("".join(names))


def _build_crawl(crawl: Path, studio: _Studio) -> None:
    crawl.mkdir(parents=True, exist_ok=True)
    for person in PEOPLE:
        for number, shot in enumerate(person.crawl):
            for i in range(FRAMES_OF_A_STRANGER):
                framing = draw_framing("crawl", person.name, number, i)
                name = (
                    f"{derive(person.name, number, i):016x}.jpg"  # as web names: they say nothing
                )
                data = _jpeg(studio.frame(shot, framing), framing.quality)
                (crawl / name).write_bytes(data)
    for photograph in NO_FACE:
        path = find(photograph)
        (crawl / path.name).write_bytes(path.read_bytes())
    (crawl / "unfinished-download.jpg").write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF")


def crawl_names(person: Person) -> set[str]:
    """Name the files of the crawl that show a person: the truth the filter is checked against."""
    return {
        f"{derive(person.name, number, i):016x}.jpg"
        for number in range(len(person.crawl))
        for i in range(FRAMES_OF_A_STRANGER)
    }


def _label(person: Person) -> int:
    return -1 if person.label is None else person.label
