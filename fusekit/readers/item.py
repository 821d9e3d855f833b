"""What readers give: items, and the contract that every reader keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from fusekit.cards.card import Form, Kind


@dataclass(frozen=True, slots=True)
class Item:
    """One thing of the raw data that may hold a face: a picture, a record, a frame.

    Attributes:
        source: Its name, unique in the dataset: the path from the raw folder, plus ``#record``,
            ``#row`` or ``#t=ms`` inside containers.
        size: Bytes that :meth:`Reader.read` gives for it.
        identity: The person as the dataset names them, NFC; None: unlabeled.
        split: The release's own part, such as ``train``; None: the release has none.
        offset: Where it starts in its container, bytes; 0 for plain files.
        bbox: The release's own box (x0, y0, x1, y1), source pixels; None: it gives none.
        landmarks: The release's own five points, x and y in turn, source pixels; None: none.
        media: ``still`` or ``video``.
        time_ms: Position of a video frame; None: a still.
    """

    source: str
    size: int
    identity: str | None
    split: str | None = None
    offset: int = 0
    bbox: tuple[float, float, float, float] | None = None
    landmarks: tuple[float, ...] | None = None
    media: str = "still"
    time_ms: int | None = None


class Reader(Protocol):
    """Reads one raw layout. Cheap to make, so that every worker process makes its own.

    Attributes:
        form: Name of the form that was found, to be shown.
        form_spec: The same in full, with the reader's options complete.
        numeric_identities: Identities are integers as text and are numbered by their value;
            otherwise by the order of their bytes.
    """

    form: str
    form_spec: Form
    numeric_identities: bool

    def items(self) -> Iterator[Item]:
        """List the items in an order that depends on the raw data only.

        Sources, offsets or both ascend bytewise. Nothing of an image is read. Memory does not
        grow with the number of items, except for a folder's own listing or a pack's index.

        Raises:
            SourceError: The layout is not what the form says, or holds no items.
        """
        ...

    def read(self, item: Item) -> bytes:
        """Read an item's image file, as it lies.

        Raises:
            ItemError: It can't be read (reason ``unreadable``) or is far too large.
            SourceError: The raw data as a whole is gone: the run stops and can go on later.
        """
        ...

    def names(self) -> Mapping[str, str]:
        """Give identity to display name, for identities that the raw data names.

        Raises:
            SourceError: The table of names is there but damaged.
        """
        ...

    def ignored(self) -> Mapping[str, int]:
        """Say what :meth:`items` passed over, and how many of each; complete when it has ended."""
        ...


class ReaderType(Protocol):
    """How the registry makes a reader.

    Attributes:
        looks_for: What it looks for in the raw folder, for errors; a noun phrase.
    """

    looks_for: str

    def __call__(self, raw: Path, kind: Kind, form: Form) -> Reader:
        """Open the raw data.

        Args:
            raw: A folder or a file, absolute and resolved; it exists.
            kind: The dataset's; items of unlabeled data have no identity.
            form: The card's form; its options are checked here.

        Raises:
            CardError: The form's options are not the reader's.
            SourceError: The layout is not what the form says.
        """
        ...

    def fits(self, raw: Path, form: Form) -> bool:
        """Say whether the raw data looks like this form, by looking at few folders."""
        ...
