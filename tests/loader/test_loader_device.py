"""Copies ahead of the trainer. No machine here has CUDA: its calls are recorded at the border."""

import contextlib
import re
from typing import ClassVar

import pytest
import torch
from support.training import planned, small_mixture

from fusekit import MixtureDataset
from fusekit.errors import LoaderError
from fusekit.loader.trainers.device import CudaCopier, PlainCopier, copy_ahead, make_copier


class RecordingCopier:
    def __init__(self):
        self.log = []

    def send(self, fields):
        self.log.append(("send", fields["step"]))
        return fields

    def receive(self, ticket):
        self.log.append(("receive", ticket["step"]))
        return ticket


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_a_copy_is_begun_before_the_batch_that_is_given(ahead):
    copier = RecordingCopier()
    for fields, tag in copy_ahead((({"step": t}, -t) for t in range(6)), copier, ahead):
        assert tag == -fields["step"]
        begun = [t for what, t in copier.log if what == "send"]
        assert begun == list(range(min(fields["step"] + ahead + 1, 6)))
    assert [t for what, t in copier.log if what == "receive"] == list(range(6))


def test_the_processors_memory_takes_no_copy():
    images = torch.zeros(2, 3, dtype=torch.uint8)
    copier, ahead = make_copier("cpu")
    assert (type(copier), ahead) == (PlainCopier, 0)
    got = copier.receive(copier.send({"images": images, "step": 4, "parts": ()}))
    assert got["images"] is images
    assert (got["step"], got["parts"]) == (4, ())


def test_a_device_without_streams_is_copied_to_at_once():
    copier, ahead = make_copier("meta")
    assert ahead == 0
    assert copier.receive(copier.send({"images": torch.zeros(2)}))["images"].device.type == "meta"


class FakeCuda:
    """What CudaCopier asks of torch.cuda, in the order it asks."""

    def __init__(self):
        self.log = []

    def Stream(self, device):  # noqa: N802 - torch's name
        return "copies"

    def Event(self):  # noqa: N802
        return FakeEvent(self.log)

    @contextlib.contextmanager
    def stream(self, stream):
        self.log.append(f"on {stream}")
        yield
        self.log.append("off")

    def current_stream(self, device):
        return FakeStream(self.log)


class FakeEvent:
    def __init__(self, log):
        self.log = log

    def record(self, stream):
        self.log.append(f"record on {stream}")


class FakeStream:
    def __init__(self, log):
        self.log = log

    def wait_event(self, event):
        self.log.append("wait")


class FakeTensor(torch.Tensor):
    log: ClassVar[list[str]] = []

    def pin_memory(self):
        self.log.append("pin")
        return self

    def to(self, device, *, non_blocking):
        self.log.append(f"to {device} {non_blocking=}")
        return self

    def record_stream(self, stream):
        self.log.append("keep for the trainer's stream")


def test_cuda_copies_pinned_memory_on_a_stream_of_its_own(monkeypatch):
    fake = FakeCuda()
    monkeypatch.setattr(torch, "cuda", fake)
    monkeypatch.setattr(FakeTensor, "log", fake.log)
    copier = CudaCopier(torch.device("cuda:0"))
    ticket = copier.send({"images": torch.zeros(1).as_subclass(FakeTensor), "step": 1})
    assert fake.log == [
        "pin", "on copies", "to cuda:0 non_blocking=True", "record on copies", "off",
    ]  # fmt: skip
    fake.log.clear()
    assert copier.receive(ticket)["step"] == 1
    assert fake.log == ["wait", "keep for the trainer's stream"]


def test_cuda_is_one_batch_ahead(monkeypatch):
    monkeypatch.setattr(torch, "cuda", FakeCuda())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True, raising=False)
    copier, ahead = make_copier("cuda:1")
    assert (type(copier), ahead) == (CudaCopier, 1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_that_is_not_there_is_refused():
    with pytest.raises(LoaderError, match="device: is 'cuda' and torch finds no CUDA; expected"):
        make_copier("cuda")


@pytest.mark.parametrize("device", ["gpu", 1.5])
def test_what_is_no_device_is_refused(device):
    message = f"device: is {device!r}; expected a device of torch, as 'cuda:0'"
    with pytest.raises(LoaderError, match=re.escape(message)):
        make_copier(device)


def test_batches_sent_ahead_do_not_count_in_the_state(tmp_path, monkeypatch):
    path, copier = small_mixture(tmp_path), RecordingCopier()
    monkeypatch.setattr("fusekit.loader.trainers.dataset.make_copier", lambda device: (copier, 1))
    dataset, seen, states = MixtureDataset(path, 8, 0, 1, threads=1, device="cpu"), [], []
    for batch in dataset:
        seen.append(batch["rows"].tolist())
        states.append(dataset.state_dict()["step"])
        assert states[-1] == dataset.state_after(batch)["step"] == len(seen)
    assert seen == planned(path, 8)
    # Before the first was given, the second was on its way.
    assert copier.log[:3] == [("send", 0), ("send", 1), ("receive", 0)]
    assert len([what for what, _ in copier.log if what == "send"]) == len(seen)
