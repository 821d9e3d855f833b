"""Looks that a dataset alone has: what a network could learn instead of faces.

Where one dataset is grey, blurred, recompressed, badly aligned or has red and blue swapped, and
the others are not, a classifier over all of them can tell people apart by that.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fusekit.cards.card import CROP_SIZES
from fusekit.errors import FusekitError
from fusekit.faces.align import fit_similarity
from fusekit.faces.choose import choose_face
from fusekit.faces.detect import open_detector
from fusekit.faces.rewarp import Rewarp
from fusekit.faces.template import ARCFACE_112, ARCFACE_SIZE
from fusekit.models.registry import resolve_model
from fusekit.progress import Progress, Report, silent
from fusekit.store.crops import sample_crops

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusekit.faces.detect import Detector
    from fusekit.faces.template import Points
    from fusekit.report.stats import Stats
    from fusekit.storage.folder import Storage
    from fusekit.store.datasets import DatasetInfo

DETECTOR: Final = "retinaface-mnet025"

_CROPS: Final = 128
_ENOUGH: Final = 20  # faces; fewer say nothing of a dataset
_SIZE: Final = (ARCFACE_SIZE, ARCFACE_SIZE)
_NOSE_TO_MOUTH: Final = slice(3, 5)
# What the detector finds on six real sets that are aligned well, cut here and elsewhere: shifts
# under 0.6 pixels, scales 0.94 to 0.96 and stretches 0.83 to 0.94, since no face is the template.
_USUAL_SCALE, _USUAL_STRETCH = 0.95, 0.90
_MOST_SHIFT, _MOST_SCALE, _MOST_STRETCH = 2.0, 0.04, 0.12
_GREY_POINTS: Final = 0.05
_JPEG_POINTS: Final = 10
_TIMES: Final = 2.0
_LEVELS: Final = 25


@dataclass(frozen=True)
class Landmarks:
    """Where a detector finds the landmarks of stored crops, against the template; medians.

    Attributes:
        crops: Crops looked at.
        faces: Of them with a face.
        deviation: Mean distance of a crop's five points from the template's, pixels: mostly pose
            and the detector's own error, 3 to 4 where nothing is wrong.
        shift_x: How far right of the template the faces lie, pixels.
        shift_y: How far below it.
        scale: Size of the faces; 1: as usual on the template.
        stretch: Height against width of the five points; 1: as usual.
    """

    crops: int
    faces: int
    deviation: float
    shift_x: float
    shift_y: float
    scale: float
    stretch: float

    @property
    def off_template(self) -> str | None:
        """What is wrong with the alignment, in words; None: nothing beyond what is usual."""
        shift = float(np.hypot(self.shift_x, self.shift_y))
        found = [
            f"{shift:.1f} px beside the template" if shift > _MOST_SHIFT else "",
            f"faces {self.scale:.2f} of the usual size"
            if abs(self.scale - 1) > _MOST_SCALE
            else "",
            f"faces stretched to {self.stretch:.2f} of the usual height"
            if abs(self.stretch - 1) > _MOST_STRETCH
            else "",
        ]
        return ", ".join(text for text in found if text) or None


@dataclass(frozen=True)
class Looks:
    """How the crops of a dataset look.

    Attributes:
        dataset: Its name.
        grey_share: Share of grey crops.
        jpeg_quality: Median IJG quality of its raw JPEGs; None: they are none.
        sharpness: Median variance of the Laplacian.
        brightness: Median mean grey level.
        swapped: Red and blue look swapped.
        landmarks: Against the template; None: no detector, or too few faces.
        alone: What it has that no other dataset of the store comes near, in words.
    """

    dataset: str
    grey_share: float | None
    jpeg_quality: float | None
    sharpness: float | None
    brightness: float | None
    swapped: bool
    landmarks: Landmarks | None
    alone: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Give it as a JSON object."""
        about = asdict(self)
        if self.landmarks:
            about["landmarks"]["off_template"] = self.landmarks.off_template
        return about


def collect_looks(
    storage: Storage, infos: Sequence[DatasetInfo], stats: Sequence[Stats], report: Report = silent
) -> list[Looks]:
    """Measure how the crops of datasets look, and what each has that the others have not.

    Args:
        storage: The store.
        infos: The datasets.
        stats: Of each, in the same order.
        report: Told of progress.

    Raises:
        StoreError: A shard is missing, or a crop does not decode.
    """
    detector = _detector(report)
    looks = []
    for number, (info, found) in enumerate(zip(infos, stats, strict=True)):
        report(Progress("looks", number, len(infos), "datasets"))
        looks.append(
            Looks(
                dataset=info.name, grey_share=found.grey_share,
                jpeg_quality=found.spread("jpeg_quality").median,
                sharpness=found.spread("sharpness").median,
                brightness=found.spread("brightness").median,
                swapped=bool(info.colours and info.colours["swapped"]),
                landmarks=measure_landmarks(storage, info, detector) if detector else None,
            )
        )  # fmt: skip
    report(Progress("looks", len(infos), len(infos), "datasets"))
    return [
        Looks(**{**vars(each), "alone": tuple(_alone(each, [o for o in looks if o is not each]))})
        for each in looks
    ]


def measure_landmarks(
    storage: Storage, info: DatasetInfo, detector: Detector, crops: int = _CROPS
) -> Landmarks | None:
    """Find the landmarks of a fixed choice of a dataset's crops and compare them to the template.

    Crops of another template are brought to ArcFace's first.

    Args:
        storage: The store.
        info: The dataset's record.
        detector: What finds them.
        crops: How many to look at.

    Returns:
        None when fewer than 20 of them have a face, or their template is not known.
    """
    if CROP_SIZES.get(info.template) != info.crop_size:
        return None
    rewarp = Rewarp.of(info.template)
    images = sample_crops(storage, info, crops)
    points = []
    for image in images.values():
        faces = detector.detect(rewarp(image))
        if len(faces.scores):
            chosen, _ = choose_face(faces, _SIZE, hint_landmarks=ARCFACE_112)
            points.append(np.asarray(faces.landmarks[chosen], np.float64))
    return _compare(points, len(images)) if len(points) >= _ENOUGH else None


def _compare(points: Sequence[Points], crops: int) -> Landmarks:
    found = np.stack(points)  # (n, 5, 2)
    fits = np.stack([fit_similarity(ARCFACE_112, each) for each in found])  # (n, 2, 3)
    centre = np.append(ARCFACE_112.mean(axis=0), 1.0)
    shift = np.median(fits @ centre - centre[:2], axis=0)
    distances = np.linalg.norm(found - ARCFACE_112, axis=2).mean(axis=1)
    tall = np.array([_tallness(each) for each in found])
    return Landmarks(
        crops=crops, faces=len(found), deviation=round(float(np.median(distances)), 2),
        shift_x=round(float(shift[0]), 2), shift_y=round(float(shift[1]), 2),
        scale=round(float(np.median(np.linalg.norm(fits[:, :, 0], axis=1))) / _USUAL_SCALE, 3),
        stretch=round(float(np.median(tall)) / _tallness(ARCFACE_112) / _USUAL_STRETCH, 3),
    )  # fmt: skip


def _tallness(points: Points) -> float:
    """Give how far the mouth lies below the eyes, over the mean width of eyes and mouth."""
    eyes, mouth = points[:2], points[_NOSE_TO_MOUTH]
    down = float(mouth[:, 1].mean() - eyes[:, 1].mean())
    wide = float(eyes[1, 0] - eyes[0, 0] + mouth[1, 0] - mouth[0, 0]) / 2
    return down / max(wide, 1.0)


def _alone(looks: Looks, others: Sequence[Looks]) -> list[str]:
    """Say in words what one dataset has that none of the others comes near."""
    found = ["red and blue look swapped"] if looks.swapped else []
    if looks.landmarks and (off := looks.landmarks.off_template):
        found.append(off)
    for name in ("grey_share", "jpeg_quality", "sharpness", "brightness"):
        mine = getattr(looks, name)
        theirs = [value for o in others if (value := getattr(o, name)) is not None]
        if mine is not None and theirs:
            nearest = min(theirs, key=lambda value: (abs(value - mine), value))
            found.append(_difference(name, mine, nearest))
    return [text for text in found if text]


def _difference(name: str, mine: float, nearest: float) -> str:
    """Say how a figure differs from the nearest of the others; empty: not by enough to say so."""
    more = mine > nearest
    match name:
        case "grey_share" if abs(mine - nearest) > _GREY_POINTS:
            return f"{mine:.0%} grey, the next {nearest:.0%}"
        case "jpeg_quality" if abs(mine - nearest) >= _JPEG_POINTS:
            return f"JPEG quality {mine:.0f}, the next {nearest:.0f}"
        case "sharpness" if mine >= _TIMES * nearest or mine * _TIMES <= nearest:
            return f"{'sharper' if more else 'more blurred'}: {mine:.0f}, the next {nearest:.0f}"
        case "brightness" if abs(mine - nearest) >= _LEVELS:
            return f"{'brighter' if more else 'darker'}: {mine:.0f}, the next {nearest:.0f}"
    return ""


def _detector(report: Report) -> Detector | None:
    try:
        return open_detector(resolve_model(DETECTOR, "detect", report))
    except FusekitError:
        return None  # a report says that landmarks were not measured, and the rest stands
