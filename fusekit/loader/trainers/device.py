"""Batches on the trainer's device, the next one copied while the trainer works on this one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from fusekit.errors import LoaderError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import torch

Fields: TypeAlias = dict[str, Any]
Tag = TypeVar("Tag")


class Copier(Protocol):
    """Copies a batch in two halves, so that the copy can run beside other work."""

    def send(self, fields: Fields) -> Any:  # noqa: ANN401 - the ticket is the copier's own
        """Start the copy of a batch; the ticket is for :meth:`receive`."""

    def receive(self, ticket: Any) -> Fields:  # noqa: ANN401
        """Give the copied batch, safe to use in what the caller queues next."""


class PlainCopier:
    """Copies at once: to the processor's own memory, or to a device without streams.

    Args:
        device: Where to.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def send(self, fields: Fields) -> Fields:
        """Copy the batch; what is there already is not copied."""
        return _each(fields, lambda tensor: tensor.to(self._device))

    def receive(self, ticket: Fields) -> Fields:
        """Give it."""
        return ticket


class CudaCopier:
    """Copies on a stream of its own out of page-locked memory.

    Args:
        device: A CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        import torch

        self._cuda, self._device = torch.cuda, device
        self._stream = torch.cuda.Stream(device)

    def send(self, fields: Fields) -> tuple[Fields, torch.cuda.Event]:
        """Queue the copies; the event is behind them."""
        # Only a copy out of page-locked memory leaves the processor free. torch gives a locked
        # block back to its pool once the copies that read it are done, so none is kept here.
        locked = _each(fields, lambda tensor: tensor.pin_memory())
        done = self._cuda.Event()
        with self._cuda.stream(self._stream):
            sent = _each(locked, lambda tensor: tensor.to(self._device, non_blocking=True))
            done.record(self._stream)
        return sent, done

    def receive(self, ticket: tuple[Fields, torch.cuda.Event]) -> Fields:
        """Let the caller's stream wait for this batch's copies, not for those of the next."""
        sent, done = ticket
        stream = self._cuda.current_stream(self._device)
        stream.wait_event(done)
        # Made on the copy stream: their memory may be used again only after the caller's work.
        _each(sent, lambda tensor: tensor.record_stream(stream))
        return sent


def make_copier(device: str | torch.device) -> tuple[Copier, int]:
    """Give the copier of a device, and how many batches it should be ahead.

    Args:
        device: As torch names it: ``cpu``, ``cuda``, ``cuda:1``.

    Raises:
        LoaderError: It is no device, or CUDA is not there.
    """
    import torch

    try:
        found = torch.device(device)
    except (RuntimeError, TypeError):
        raise LoaderError("device", f"is {device!r}", "a device of torch, as 'cuda:0'") from None
    if found.type != "cuda":
        return PlainCopier(found), 0
    if not torch.cuda.is_available():
        raise LoaderError("device", f"is '{found}' and torch finds no CUDA", "'cpu' or None")
    return CudaCopier(found), 1


def copy_ahead(
    batches: Iterable[tuple[Fields, Tag]], copier: Copier, ahead: int
) -> Iterator[tuple[Fields, Tag]]:
    """Give batches on the copier's device.

    Args:
        batches: Batches, each with a tag that stays with it.
        copier: Copies them.
        ahead: How many copies are begun before the batch that is given: 0 or more.

    Yields:
        Each batch and its tag, in order.
    """
    sent: list[tuple[Any, Tag]] = []
    for fields, tag in batches:
        sent.append((copier.send(fields), tag))
        if len(sent) > ahead:
            ticket, first = sent.pop(0)
            yield copier.receive(ticket), first
    for ticket, tag in sent:
        yield copier.receive(ticket), tag


def _each(fields: Fields, do: Callable[[torch.Tensor], Any]) -> Fields:
    import torch

    return {k: do(v) if isinstance(v, torch.Tensor) else v for k, v in fields.items()}
