"""What an export wrote or would write, and the ``export.json`` that says so beside it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from fusekit.errors import StorageError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from fusekit.storage.folder import Storage

FORMAT_VERSION: Final = 1
RECORD: Final = "export.json"
State: TypeAlias = Literal["written", "unchanged", "dry run"]


@dataclass(frozen=True)
class ExportResult:
    """What an export of a mixture holds.

    Attributes:
        mixture: The mixture's name.
        format: The format.
        part: ``labeled`` or ``unlabeled``.
        out: The folder.
        state: ``written``; ``unchanged`` when it was there already; ``dry run``.
        images: Images in it.
        classes: Labels; 0 when unlabeled.
        bytes: Of the images as they are stored.
        erased: Rows left out because their images were erased since the mixture was built.
        as_png: Crops that are written as PNG: raw ones, and those of another template than the
            mixture's, brought to it as the loader does. All others are bit for bit.
        fingerprint: The mixture's.
        remarks: What is to be known of it, one line each.
    """

    mixture: str
    format: str
    part: str
    out: str
    state: State
    images: int
    classes: int
    bytes: int
    erased: int
    as_png: int
    fingerprint: str
    remarks: list[str]

    def as_json(self) -> dict[str, Any]:
        """Give it as the object that ``fusekit export --json`` prints."""
        return dict(vars(self))


@dataclass(frozen=True)
class PairsResult:
    """What a verification pack of an evaluation set holds.

    Attributes:
        dataset: The evaluation set.
        format: ``bin``.
        protocol: The protocol of the pairs.
        out: The file.
        state: As of :class:`ExportResult`.
        pairs: Pairs in it.
        same: How many of them show one person twice.
        folds: How many folds the protocol has; 0: none.
        bytes: Of the images as they are stored, each as often as a pair names it.
        left_out: Pairs left out because one of their images gave no sample.
        as_png: Raw crops that are written as PNG.
        fingerprint: The dataset's.
        remarks: What is to be known of it, one line each.
    """

    dataset: str
    format: str
    protocol: str
    out: str
    state: State
    pairs: int
    same: int
    folds: int
    bytes: int
    left_out: int
    as_png: int
    fingerprint: str
    remarks: list[str]

    def as_json(self) -> dict[str, Any]:
        """Give it as the object that ``fusekit export --json`` prints."""
        return dict(vars(self))


def record_of(result: ExportResult | PairsResult, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Give what ``export.json`` says of a result: nothing of where or when it was written."""
    about = {k: v for k, v in vars(result).items() if k not in {"out", "state"}}
    return {"format_version": FORMAT_VERSION, **about, **more}


def write_record(target: Storage, name: str, about: dict[str, Any]) -> None:
    """Write ``export.json``."""
    text = json.dumps(about, indent=1, sort_keys=True, ensure_ascii=False)
    target.write(name, text.encode() + b"\n")


def read_record(path: Path) -> dict[str, Any] | None:
    """Read an ``export.json``; None when there is none that can be read."""
    try:
        about = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return about if isinstance(about, dict) else None


def check_place(out: Path, store: Storage) -> Path:
    """Give the absolute place of an export.

    Raises:
        UsageError: It lies in the store.
        StorageError: Its path can't be followed.
    """
    try:
        place = out.expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise StorageError(out, f"can't be followed ({error})") from None
    if place.is_relative_to(store.root.resolve()):
        raise UsageError(out, "lies in the store", "a place outside of it")
    return place
