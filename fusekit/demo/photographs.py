"""The demo's people: real photographs that packages ship, and where each person goes.

InsightFace brings a group picture of six people and a portrait, scikit-image an astronaut; four
official photographs of two politicians come with the sdist of ``face-recognition``.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from fusekit.errors import MissingExtraError, SourceError
from fusekit.models.registry import get_model
from fusekit.progress import Report, silent

Package: TypeAlias = Literal["insightface", "skimage", "demo-photos"]


@dataclass(frozen=True)
class Photograph:
    """One photograph of a person.

    Attributes:
        package: Who ships it.
        path: Where it lies in the package.
        face: Which face of it, counted left to right.
    """

    package: Package
    path: str
    face: int = 0


@dataclass(frozen=True)
class Person:
    """Someone in the demo, under the name that each raw dataset has for them.

    Attributes:
        name: Who it is.
        photographs: What there is of them for the labeled datasets.
        vggface2: Their folder in the VGGFace2-like tree; None: not in it.
        label: Their label in the RecordIO pack; None: not in it.
        crawl: Photographs of them that lie in the unlabeled crawl.
        gender: As VGGFace2's name table has it, ``m`` or ``f``.
    """

    name: str
    photographs: tuple[Photograph, ...] = ()
    vggface2: str | None = None
    label: int | None = None
    crawl: tuple[Photograph, ...] = ()
    gender: Literal["m", "f"] = "m"

    @property
    def known(self) -> bool:
        """Say whether a labeled dataset has them, so that the crawl must not."""
        return self.vggface2 is not None or self.label is not None


def _group(face: int) -> Photograph:
    return Photograph("insightface", "data/images/t1.jpg", face)


def _shot(name: str) -> Photograph:
    return Photograph("demo-photos", f"{name}.jpg")


# Obama and Aniston stand in both labeled datasets under different names, which is the point.
# The crawl shows Obama in a photograph that neither labeled dataset has.
PEOPLE: Final = (
    Person("Barack_Obama", (_shot("obama"), _shot("obama2")), "n000044", 3, (_shot("obama3"),)),
    Person("Jennifer_Aniston", (_group(0),), "n000101", 0, gender="f"),
    Person("Courteney_Cox", (_group(1),), "n000102", gender="f"),
    Person("David_Schwimmer", (_group(2),), "n000103"),
    Person("Matthew_Perry", (_group(3),), "n000104", 1),
    Person("Matt_LeBlanc", (_group(4),), None, 2),
    Person("Tom_Hanks", (Photograph("insightface", "data/images/Tom_Hanks_54745.png"),), None, 4),
    Person("Lisa_Kudrow", crawl=(_group(5),)),
    Person("Joe_Biden", crawl=(_shot("biden"),)),
    Person("Eileen_Collins", crawl=(Photograph("skimage", "data/astronaut.png"),)),
)

NO_FACE: Final = (
    Photograph("skimage", "data/coffee.png"),
    Photograph("insightface", "data/images/mask_green.jpg"),
)


def check_packages() -> None:
    """Check that all is installed that the demo needs, before anything is fetched or written.

    Raises:
        MissingExtraError: A package of the extra ``demo`` is not installed.
    """
    for package in ("insightface", "skimage", "dlib"):
        _home(package)


def find(photograph: Photograph, report: Report = silent) -> Path:
    """Find a photograph's file, fetching the pinned sdist when it is that one's.

    Raises:
        MissingExtraError: The package that ships it is not installed.
        SourceError: This release of the package does not ship it.
        ModelError: The sdist can't be had.
    """
    if photograph.package == "demo-photos":
        root = get_model("demo-photos", report)
    else:
        root = _home(photograph.package)
    path = root / photograph.path
    if not path.is_file():
        raise SourceError(path, f"this release of {photograph.package} does not ship it")
    return path


def _home(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        feature = "the demo"
        raise MissingExtraError(feature, "demo")
    return Path(spec.origin).parent
