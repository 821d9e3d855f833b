"""What the readers of container files have in common; why they inherit: see ``tree_reader``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from typing import TYPE_CHECKING, Generic

from fusekit.readers.containers.files import Containers
from fusekit.readers.options import Chosen, read_options

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fusekit.cards.card import Form, Kind
    from fusekit.readers.item import Item


class ContainerReader(ABC, Generic[Chosen]):
    """The part of :class:`fusekit.readers.item.Reader` that is the same for all containers.

    A class gives ``looks_for``, ``options``, ``is_container``, ``looks_right`` and ``items``.

    Attributes:
        beside: How names end, in lower case, of files that go with them; not counted.
    """

    looks_for: str
    options: type[Chosen]
    beside: tuple[str, ...] = ()
    front_to_back = False

    def __init__(self, raw: Path, kind: Kind, form: Form) -> None:
        self._options, self.form_spec = read_options(self.options, form)
        self.form = form.name
        self.numeric_identities = False  # until the items are listed
        self._kind = kind
        self._ignored: Counter[str] = Counter()
        self._files = self._containers(raw, self._ignored)

    @classmethod
    def fits(cls, raw: Path, form: Form) -> bool:
        """Say whether the first container looks right."""
        options, _ = read_options(cls.options, form)
        files = cls._containers(raw, Counter())
        return files.first_fits(lambda path: cls.looks_right(path, options))

    @staticmethod
    @abstractmethod
    def is_container(name: str) -> bool:
        """Tell a container by its name, in lower case."""

    @classmethod
    @abstractmethod
    def looks_right(cls, path: Path, options: Chosen) -> bool:
        """Say by a container's first bytes whether it is of the form.

        Raises:
            FusekitError: It is damaged, or none at all: it does not look right then.
            OSError: It can't be read; the same.
        """

    def read(self, item: Item) -> bytes:
        """Read a picture; see :class:`fusekit.readers.item.Reader`."""
        return self._files.read(item)

    def names(self) -> Mapping[str, str]:
        """Give no names: nobody is named."""
        return {}

    def ignored(self) -> Mapping[str, int]:
        """Say what was passed over; see :class:`fusekit.readers.item.Reader`."""
        return dict(self._ignored)

    @classmethod
    def _containers(cls, raw: Path, ignored: Counter[str]) -> Containers:
        return Containers(raw, cls.is_container, ignored, cls.beside)
