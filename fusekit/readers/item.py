"""What readers give: items, and the contract that every reader keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from fusekit.cards.card import Form, Kind
    from fusekit.readers.options import Options


@dataclass(frozen=True, slots=True)
class Item:
    """One thing of the raw data that may hold a face: a picture, a record, a frame.

    Attributes:
        source: Its name, unique in the dataset: the path from the raw folder, plus ``#record``,
            ``#row`` or ``#t=ms`` inside containers.
        size: Bytes that :meth:`Reader.read` gives for it. Of one that is a reject already: those
            of its file or record where it has one that could be read, else 0.
        identity: The person as the dataset names them, NFC; None: unlabeled.
        split: The release's own part, such as ``train``; None: the release has none.
        offset: Where it starts in its container, in bytes or rows; 0 for plain files. Containers
            that can only be read front to back are read by ascending offset.
        bbox: The release's own box (x0, y0, x1, y1), source pixels; None: it gives none.
        landmarks: The release's own five points, x and y in turn, source pixels; None: none.
        media: ``still`` or ``video``.
        time_ms: Position of a video frame; None: a still, or not known.
        frame: Number of a video frame as the release counts; None likewise.
        video: The video that a frame is from, unique in the dataset; None: a still.
        url: Where it was fetched from; None: not known.
        reject: Why it is a reject already, one of :data:`fusekit.schema.REJECT_REASONS`: named by
            a list but missing, say. It is never read then. None: it is read.
        reject_detail: What was found, one line, where ``reject`` is given.
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
    frame: int | None = None
    video: str | None = None
    url: str | None = None
    reject: str | None = None
    reject_detail: str | None = None


class Reader(Protocol):
    """Reads one raw layout. Cheap to make, so that every worker process makes its own.

    Attributes:
        form: Name of the form that was found, to be shown.
        form_spec: The same in full, with the reader's options complete.
        numeric_identities: Identities are integers as text and are numbered by their value;
            otherwise by the order of their bytes.
        front_to_back: Reading in any other order than by ascending offset is slow, as in a
            compressed tar, a Parquet file or a video: units are runs of items then.
    """

    form: str
    form_spec: Form
    numeric_identities: bool
    front_to_back: bool

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


@runtime_checkable
class EvaluationReader(Reader, Protocol):
    """Reads an evaluation set: images, and the protocol that says how they are compared."""

    def tables(self) -> Mapping[str, Iterator[pa.RecordBatch]]:
        """Give the protocol's tables; called after :meth:`items` has ended.

        Returns:
            Some of ``pairs`` (:data:`fusekit.schema.PLAN_PAIRS_SCHEMA`), ``templates``
            (:data:`fusekit.schema.PLAN_TEMPLATES_SCHEMA`), ``template_pairs`` and ``searches``
            (schemas of the same name), as record batches in the protocol's own order. Sources
            are those of items; one that is none is a missing image.

        Raises:
            SourceError: A protocol's file is damaged.
        """
        ...


@runtime_checkable
class RemarkingReader(Reader, Protocol):
    """Reads raw data that a user should be told something of, beyond counts."""

    def remarks(self) -> Sequence[str]:
        """Give plain sentences; called after :meth:`items` has ended."""
        ...


class ReaderType(Protocol):
    """How the registry makes a reader.

    Attributes:
        looks_for: What it looks for in the raw folder, for errors; a noun phrase.
        options: What a form's options are checked against.
    """

    looks_for: str
    options: type[Options]

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
