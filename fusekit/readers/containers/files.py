"""Raw data in container files: a folder of them, or one."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fusekit.errors import FormatError, FusekitError, ItemError, SourceError
from fusekit.readers.containers.samples import IMAGE_SUFFIXES
from fusekit.readers.trees.folder_tree import FolderTree
from fusekit.readers.trees.walk import first_files

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator

    from fusekit.cards.card import Kind
    from fusekit.readers.item import Item
    from fusekit.readers.trees.walk import Entry

_MARK: Final = "#"  # between a container's name and the item in it
_GLANCE: Final = 512  # entries that a first look goes through


class Containers:
    """The containers of a raw folder, or the one container that the raw data is.

    Args:
        raw: A folder or a file, absolute and resolved.
        is_container: Tells one by its name, in lower case.
        ignored: Gets a count for everything that is passed over.
        beside: How names end, in lower case, of files that go with the containers; not counted.
    """

    def __init__(
        self,
        raw: Path,
        is_container: Callable[[str], bool],
        ignored: Counter[str],
        beside: tuple[str, ...] = (),
    ) -> None:
        self.raw = raw
        self.ignored = ignored
        self._is_container, self._beside = is_container, beside
        self.tree = FolderTree(raw if raw.is_dir() else raw.parent, ignored)

    def entries(self) -> Iterator[Entry]:
        """List the containers in bytewise order of their paths; other files are counted.

        Raises:
            SourceError: A name can't be told from the items in it.
        """
        for entry in self.files():
            name = entry.name.lower()
            if not self._is_container(name):
                if name.endswith(self._beside):
                    continue
                self.ignored["files of another kind"] += 1
                continue
            if _MARK in entry.source:
                raise SourceError(
                    self.tree.root / entry.source, f"has {_MARK!r} in its path", None,
                    "rename it: this mark stands before the items of a container",
                )  # fmt: skip
            yield entry

    def files(self) -> Iterator[Entry]:
        """List all files that are no lists by their suffix, in bytewise order of their paths."""
        if self.raw.is_dir():
            return self.tree.files()
        own = self.raw.name
        return (e for e in self.tree.entries() if e.name == own and not e.is_folder)

    def first_fits(self, fits: Callable[[Path], bool]) -> bool:
        """Say whether the first container is right, where the raw data looks like containers.

        Args:
            fits: Looks at its first bytes; an error that it raises means that it is not.
        """
        if self.raw.is_dir():
            few = first_files(self.tree, _GLANCE)
        else:
            few = [entry for entry in self.tree.peek() if entry.name == self.raw.name]
        if any(entry.name.lower().rpartition(".")[2] in IMAGE_SUFFIXES for entry in few):
            return False  # a folder of pictures, whatever else lies in it
        first = next((entry for entry in few if self._is_container(entry.name.lower())), None)
        try:
            return first is not None and fits(self.path(first.source))
        except (OSError, FusekitError):
            return False

    def path(self, name: str) -> Path:
        """Give the place of a container, or of an item's container by its source.

        Raises:
            ItemError: It leads out of the raw folder.
        """
        return Path(self.tree.path(name.partition(_MARK)[0]))

    def read(self, item: Item) -> bytes:
        """Read an item's bytes, ``item.size`` from byte ``item.offset`` on.

        Raises:
            ItemError: The container is not there, or ends before.
            SourceError: The raw folder as a whole is gone.
        """
        path = self.path(item.source)
        with gone_or_unreadable(path, item.source), path.open("rb", buffering=0) as file:
            file.seek(item.offset)
            data = file.read(item.size)
        if len(data) < item.size:
            found = f"its container ends {len(data)} of {item.size} bytes into it"
            raise ItemError("unreadable", item.source, found)
        return data


def checked_items(
    items: Iterator[Item], kind: Kind, raw: Path, who: str, looks_for: str
) -> Iterator[Item]:
    """Pass items on, and see that there are some and that labeled ones name somebody.

    Args:
        items: Of the reader.
        kind: The dataset's.
        raw: For errors.
        who: What would say whom an item shows, for errors.
        looks_for: The reader's, for errors.

    Raises:
        SourceError: There is no item, or not one of labeled data has an identity.
    """
    found = known = False
    for item in items:
        found = True
        known |= item.identity is not None
        yield item
    if not found:
        raise SourceError(raw, "holds no pictures", looks_for)
    if kind == "labeled" and not known:
        raise SourceError(
            raw, "nothing says whom the pictures show", who,
            "ingest it with a card of kind unlabeled, or name where it stands by an option",
        )  # fmt: skip


@contextmanager
def gone_or_unreadable(path: Path, source: str) -> Iterator[None]:
    """Turn a failure to read one item into the right error.

    Raises:
        ItemError: A fault of the item or its record.
        SourceError: The container is gone, as when a drive is: no fault of the item.
    """
    try:
        yield
    except (OSError, FormatError) as reason:
        if not path.is_file():
            raise SourceError(
                path, "is not there any more", None, "see that the drive is there"
            ) from None
        found = reason.found if isinstance(reason, FormatError) else reason.strerror
        raise ItemError("unreadable", source, found or "can't be read") from None


@contextmanager
def as_source_error(where: object) -> Iterator[None]:
    """Raise what is wrong with a container as an error of the raw data.

    Raises:
        SourceError: In place of a format's or the system's error.
    """
    try:
        yield
    except FormatError as error:
        raise SourceError(error.where, error.found, error.expected, error.fix) from None
    except OSError as error:
        place: Any = error.filename or where
        raise SourceError(place, error.strerror or "can't be read") from None
