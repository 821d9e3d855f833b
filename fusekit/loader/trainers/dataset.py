"""A mixture as a torch dataset of whole batches, for trainers that want a ``DataLoader``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fusekit.errors import LoaderError, MissingExtraError
from fusekit.loader.loader import MixtureLoader
from fusekit.loader.trainers.device import copy_ahead, make_copier
from fusekit.mixture.drawing import Steps
from fusekit.mixture.mixture import Mixture

try:
    import torch
    from torch.utils.data import IterableDataset, get_worker_info
except ImportError:  # the name can be imported all the same, and says so when it is used
    IterableDataset = object

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusekit.loader.batch import Batch
    from fusekit.loader.trainers.device import Fields


class MixtureDataset(IterableDataset):  # type: ignore[misc] # torch is not seen by the checker
    """A mixture's batches as a ``torch.utils.data.IterableDataset``; it yields them whole.

    It gives what :class:`MixtureLoader` gives. A plain loop should use that; this is for
    trainers that want a dataset: ``DataLoader(dataset, batch_size=None)``, torchdata's
    ``StatefulDataLoader``, Lightning. A batch is a dict, since that is what collation, pinning,
    worker processes and trainers carry over unchanged: ``images``, ``labels``,
    ``dataset_index`` and ``rows`` (tensors as in :class:`Batch`), ``n_labeled``, ``step`` and
    ``parts``.

    Give a ``DataLoader`` ``num_workers=0`` (the mixture is decoded in threads anyway) or 1. The
    dataset can be pickled and sent to a worker: a process that iterates it opens the mixture
    itself. One ``for`` is one epoch, or the rest of it, and the next ``for`` goes on with the
    next, also where worker processes come and go. A ``for`` that is left early goes on where it
    was left; only in a worker, which had made batches that nobody saw, it begins again.

    Args:
        mixture: An opened mixture, or what :meth:`Mixture.open` opens: its folder, or its name.
        batch_size: Samples of a batch on this rank; None takes the recipe's.
        rank: This process's rank. None takes it from ``torch.distributed`` where that is
            initialised, else from ``RANK`` as torchrun sets it, else 0; so make the dataset
            after ``init_process_group``.
        world_size: How many ranks there are; None takes it from the same place.
        seed: Of the order; None takes the recipe's.
        device: Where tensors go: on ``cuda`` the next batch is copied, out of page-locked
            memory, while the trainer works on this one. None leaves them to the trainer.
        **loader_options: What else :class:`MixtureLoader` takes, but ``arrays``. With
            ``epochs={"steps": N}``, here or in the recipe, the dataset has a ``len``, for trainers
            that ask for it once and count (Lightning).

    Raises:
        LoaderError: A setting cannot be.
        MissingExtraError: torch is not installed.
        MixtureError: There is no such mixture, or it is damaged.

    Example:
        Mid-epoch resume in a plain ``DataLoader``, exact with any number of batches made ahead::

            dataset = MixtureDataset("fusekit-store/mixtures/demo", batch_size=128)
            for batch in DataLoader(dataset, batch_size=None, num_workers=1):
                train(batch["images"], batch["labels"][: batch["n_labeled"]])
                save(model, dataset.state_after(batch))
    """

    def __init__(
        self,
        mixture: Mixture | str | os.PathLike[str],
        batch_size: int | None = 256,
        rank: int | None = None,
        world_size: int | None = None,
        seed: int | None = None,
        *,
        device: str | torch.device | None = None,
        **loader_options: Any,  # noqa: ANN401 - checked by MixtureLoader
    ) -> None:
        if IterableDataset is object:
            raise MissingExtraError("MixtureDataset", "torch")
        super().__init__()
        if (rank is None) != (world_size is None):
            raise LoaderError("rank", "stands without the other", "rank and world_size, or neither")
        if "arrays" in loader_options:
            raise LoaderError("arrays", "can't be chosen here", None, "a dataset gives tensors")
        self._found = rank is None
        if rank is None or world_size is None:
            rank, world_size = _distributed() or _launched()
        self.rank, self.world_size = rank, world_size
        self.device = device
        if device is not None:
            make_copier(device)
        # Where the next 'for' begins: step, epoch, whether a state has just put it there, and how
        # often it was put somewhere. In shared memory, since the worker processes of a DataLoader
        # follow each other and set_epoch() is called in none of them.
        self._place = torch.zeros(4, dtype=torch.int64).share_memory_()
        # What this process took last: the step after it, and the count of moves it belongs to.
        self._taken: tuple[int, int] | None = None
        self._in_process = bool(loader_options.pop("process", False))
        self._mixture, self._options = mixture, {"seed": seed, **loader_options}
        self._opened: tuple[MixtureLoader, MixtureLoader | None] | None = None
        self._inherited: object = None
        self._process = os.getpid()
        self.batch_size = batch_size
        self.batch_size = self._ruler().batch_size

    def __len__(self) -> int:
        """Give the steps of an epoch, with ``epochs={"steps": N}``.

        Raises:
            TypeError: Epochs may differ by one, which a trainer that asks once and counts would
                take for the end of an epoch.
        """
        epochs = self._options.get("epochs")
        if epochs is None:
            epochs = self._ruler().mixture.recipe.epochs
        if not isinstance(epochs, (Mapping, Steps)):
            msg = "a MixtureDataset has a length only with epochs={'steps': N}"
            raise TypeError(msg)
        return len(self._ruler())

    def __iter__(self) -> Iterator[Fields]:
        """Iterate the rest of the current epoch.

        Raises:
            LoaderError: As :class:`MixtureLoader`; or a ``DataLoader`` has more than one worker,
                or a worker and ``device``; or the process has another rank than the dataset was
                made for.
        """
        in_worker = self._check_process()
        copier, ahead = make_copier("cpu" if self.device is None else self.device)
        loader = self._running()
        step, epoch, _, moves = self._place.tolist()
        self._taken = step, moves
        for fields, (done, now) in copy_ahead(self._made(loader, step, epoch), copier, ahead):
            if (moved := int(self._place[3]) != moves) and not in_worker:
                raise LoaderError("dataset", "was moved during this 'for'")
            self._taken = done, moves
            # Batches that a worker has made may never be seen, but for those of a whole epoch.
            if not moved and (not in_worker or now > epoch):
                self._place[:3] = torch.tensor([done, now, 0])
            if fields:
                yield fields

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch; the next ``for`` begins there, in whatever process.

        As :meth:`MixtureLoader.set_epoch`, the first call after :meth:`load_state_dict` keeps
        the loaded position if it lies in the epoch. A ``StatefulDataLoader`` loads its state
        when it is iterated, so a loop over one leaves this call out.

        Args:
            epoch: From 0 on.

        Raises:
            LoaderError: It is negative.
        """
        if epoch < 0:
            raise LoaderError("epoch", f"is {epoch}", "0 or more")
        start, end = self._start(epoch), self._start(epoch + 1)
        step, _, resumed, _ = self._place.tolist()
        self._move(step if resumed and start <= step <= end else start, epoch)

    def total_steps(self, epochs: int) -> int:
        """Give how many steps the first epochs have together, as a learning-rate schedule asks.

        Args:
            epochs: From 0 on.
        """
        return self._start(epochs)

    def state_dict(self) -> dict[str, Any]:
        """Give the state after the last batch that this process took from the dataset.

        A worker process takes batches ahead of the trainer; ``StatefulDataLoader`` keeps their
        states apart, for a plain ``DataLoader`` use :meth:`state_after`.

        Returns:
            What :meth:`MixtureLoader.state_dict` gives; the two can load each other's.
        """
        step, _, _, moves = self._place.tolist()
        if self._taken is not None and self._taken[1] == moves:
            step = self._taken[0]
        return self._ruler().state_dict() | {"step": step}

    def state_after(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Give the state that goes on after a batch, whoever made it and whatever is ahead.

        Args:
            batch: A batch of this dataset.

        Returns:
            As :meth:`state_dict`.
        """
        return self._ruler().state_dict() | {"step": int(batch["step"]) + 1}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; nothing is replayed.

        Raises:
            StateError: It is of another mixture, order or global batch; the field is named.
        """
        ruler = self._ruler()
        ruler.load_state_dict(state)
        self._move(ruler.step, ruler.epoch, resumed=True)

    def __getstate__(self) -> dict[str, Any]:
        """Leave threads, open files and the opened mixture behind."""
        mixture = self._mixture.path if isinstance(self._mixture, Mixture) else self._mixture
        return self.__dict__ | {"_mixture": mixture, "_opened": None, "_inherited": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._place = self._place.share_memory_()

    def _made(
        self, loader: MixtureLoader, step: int, epoch: int
    ) -> Iterator[tuple[Fields, tuple[int, int]]]:
        """Give each batch and the place after it; of an epoch without a step only the place."""
        loader.load_state_dict(loader.state_dict() | {"step": step})
        loader.set_epoch(epoch)
        none = True
        for batch in loader:
            none = False
            yield _fields(batch), (batch.step + 1, loader.epoch)
        if none:
            yield {}, (loader.step, loader.epoch)

    def _move(self, step: int, epoch: int, *, resumed: bool = False) -> None:
        self._place.copy_(torch.tensor([step, epoch, int(resumed), int(self._place[3]) + 1]))

    def _start(self, epoch: int) -> int:
        ruler = self._ruler()
        # Twice: the first call after a state was loaded may keep the loaded position.
        ruler.set_epoch(epoch)
        ruler.set_epoch(epoch)
        return ruler.step

    def _ruler(self) -> MixtureLoader:
        """Give a loader of this process that is asked but never iterated, so has no threads."""
        return self._loaders()[0]

    def _running(self) -> MixtureLoader:
        ruler, running = self._loaders()
        if running is None:
            running = self._open(ruler.mixture, process=self._in_process)
            self._opened = ruler, running
        return running

    def _loaders(self) -> tuple[MixtureLoader, MixtureLoader | None]:
        if self._opened is None or self._process != os.getpid():
            # A forked child keeps what its parent opened: to end that is the parent's.
            self._inherited = self._opened
            self._opened = self._open(self._mixture, process=False), None
            self._process = os.getpid()
        return self._opened

    def _open(self, mixture: Mixture | str | os.PathLike[str], *, process: bool) -> MixtureLoader:
        options = self._options | ({"process": True} if process else {})
        return MixtureLoader(
            mixture, self.batch_size, self.rank, self.world_size, arrays="torch", **options
        )

    def _check_process(self) -> bool:
        """Check that this process may iterate; say whether it is a worker."""
        worker = get_worker_info()
        if worker is not None and worker.num_workers > 1:
            raise LoaderError(
                "DataLoader", f"has {worker.num_workers} workers", "num_workers 0 or 1",
                "a mixture is decoded in threads: give the dataset threads=",
            )  # fmt: skip
        if worker is not None and (self.device not in (None, "cpu") or self._in_process):
            raise LoaderError(
                "DataLoader", "has a worker beside device= or process=True", "num_workers 0"
            )
        now = _distributed()
        if self._found and now is not None and now != (self.rank, self.world_size):
            raise LoaderError(
                "dataset", f"was made for rank {self.rank} of {self.world_size}",
                f"rank {now[0]} of {now[1]}, which this process is",
                "make it after init_process_group",
            )  # fmt: skip
        return worker is not None


def _fields(batch: Batch) -> Fields:
    return {
        "images": batch.images, "labels": batch.labels, "dataset_index": batch.dataset_index,
        "rows": torch.from_numpy(batch.rows), "n_labeled": batch.n_labeled, "step": batch.step,
        "parts": batch.parts,
    }  # fmt: skip


def _distributed() -> tuple[int, int] | None:
    """Give rank and world size of torch.distributed where it is initialised."""
    parts = torch.distributed
    if not (parts.is_available() and parts.is_initialized()):
        return None
    return parts.get_rank(), parts.get_world_size()


def _launched() -> tuple[int, int]:
    """Give rank and world size as torchrun and its like set them, or of a process alone."""
    found = []
    for name, alone in (("RANK", "0"), ("WORLD_SIZE", "1")):
        value = os.environ.get(name, alone)
        if not value.isascii() or not value.isdigit():
            raise LoaderError(name, f"is {value!r}", "an integer from 0 on")
        found.append(int(value))
    return found[0], found[1]
