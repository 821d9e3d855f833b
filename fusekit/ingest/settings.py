"""The settings of an ingest: values, frozen, recorded beside what they made."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from fusekit.errors import UsageError

if TYPE_CHECKING:
    from fusekit.models.registry import ResolvedModel
    from fusekit.readers.item import Reader

Landmarks: TypeAlias = Literal["detect", "given"]
Order: TypeAlias = Literal["random", "source"]
Format: TypeAlias = Literal["jpg", "png", "raw"]
FaceRule: TypeAlias = Literal["best", "all"]

DEFAULT_UNIT_SIZE: Final = 8_192
DEFAULT_DETECTOR: Final = "retinaface-mnet025"


@dataclass(frozen=True)
class IngestSettings:
    """Every setting that changes what an ingest gives.

    Attributes:
        unit_size: Items in a work unit, so in a shard.
        seed: Of the bijection that deals items to units.
        format: Of the stored crops; None where aligned crops pass through.
        jpeg_quality: 1 to 100, for ``jpg``; chroma is never subsampled.
        faces: ``best``: one face of an item; ``all``: each face is a sample.
        min_score: Detector score under which a face is left out, 0 to 1.
        min_eye_distance: In source pixels; under it a face is left out.
        max_pixels: Pictures with more are not decoded.
        landmarks: ``detect``: a detector finds each face; ``given``: the source's own five points
            place it and nothing is detected.
        order: ``random``: each unit is a random sample of the dataset; ``source``: units are runs
            of items in the order of their offsets, for data that is read front to back.
    """

    unit_size: int = DEFAULT_UNIT_SIZE
    seed: int = 0
    format: Format | None = "jpg"
    jpeg_quality: int = 95
    faces: FaceRule = "best"
    min_score: float = 0.6
    min_eye_distance: float = 8.0
    max_pixels: int = 1 << 27
    landmarks: Landmarks = "detect"
    order: Order = "random"

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.unit_size < 1:
            raise UsageError("--unit-size", str(self.unit_size), "at least 1")
        if self.format not in (None, "jpg", "png", "raw"):
            raise UsageError("--format", repr(self.format), "jpg, png or raw")
        if self.faces not in ("best", "all"):
            raise UsageError("--faces", repr(self.faces), "best or all")
        if self.landmarks not in ("detect", "given"):
            raise UsageError("--landmarks", repr(self.landmarks), "detect or given")
        if self.order not in ("random", "source"):
            raise UsageError("--order", repr(self.order), "random or source")
        if not 0 <= self.min_score <= 1:
            raise UsageError("--min-score", str(self.min_score), "0 to 1")

    def as_json(self, detector: ResolvedModel | None) -> dict[str, Any]:
        """Give the settings and the detector as they go into the plan's fingerprint."""
        about = asdict(self)
        about["detector"] = (
            None if detector is None else {"name": detector.name, "sha256": detector.sha256}
        )
        return about


def choose_settings(
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
    """Settle what was asked for and what the raw data calls for.

    Raises:
        UsageError: Something was asked for that does nothing here.
    """
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


def check_landmarks(settings: IngestSettings, reader: Reader, *, given: bool) -> None:
    """Refuse landmarks that are not there, before every item is rejected for it."""
    if settings.landmarks == "given" and not given:
        raise UsageError(
            "--landmarks", f"no item of the form {reader.form!r} comes with any here", None,
            "leave the option out: faces are then detected",
        )  # fmt: skip
