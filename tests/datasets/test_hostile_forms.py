"""Raw data comes from strangers: every form, with any of its files damaged, is an error of ours.

Each example damages one file of a small real layout, then lists and reads everything, as an ingest
does: rejects or one of fusekit's errors, never another exception, a hang or memory without bound.
"""

import resource
import shutil
import signal
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.every_form import CASES

from fusekit.cards.card import load_card
from fusekit.errors import FusekitError, ItemError
from fusekit.readers.item import EvaluationReader
from fusekit.readers.registry import open_reader

MEMORY = 1 << 30  # bytes over what the process has mapped already
SECONDS = 20


@st.composite
def damages(draw):
    """How a file is damaged: a function of its bytes."""
    kind = draw(st.sampled_from(["cut", "flip", "number", "repeat", "insert", "empty"]))
    where = draw(st.floats(0, 1, exclude_max=True))
    value = draw(st.binary(min_size=1, max_size=8))
    number = draw(st.sampled_from([b"\xff" * 4, b"\xff" * 8, b"\0" * 8, b"\xff\xff\xff\x7f"]))

    def damage(data):
        at = int(where * len(data))
        return {
            "cut": data[:at],
            "flip": data[:at] + value + data[at + len(value) :],
            "number": data[:at] + number + data[at + len(number) :],
            "repeat": data[:at] + data[at // 2 :],
            "insert": data[:at] + value + data[at:],
            "empty": b"",
        }[kind]

    return damage


@contextmanager
def bounded():
    """Let no more memory be mapped and no more time pass than a small file can ask for."""

    def late(*_):
        raise TimeoutError(f"over {SECONDS} s")

    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGALRM, late)
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, hard))
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGALRM, before)


def read_all(card, raw, form):
    """List and read as an ingest does; gives the number of items."""
    reader = open_reader(load_card(card), raw, form)
    count = 0
    for item in islice(reader.items(), 5_000):
        count += 1
        if item.reject is None:
            with suppress(ItemError):
                reader.read(item)
    reader.names()
    reader.ignored()
    if isinstance(reader, EvaluationReader):
        for batches in reader.tables().values():
            for batch in batches:
                batch.validate(full=True)
    return count


@pytest.mark.parametrize(("card", "form"), sorted(CASES), ids=lambda each: each)
@settings(
    max_examples=12, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(st.data())
def test_a_damaged_file_is_an_error_of_ours_or_a_reject(card, form, tmp_path, data):
    kept = tmp_path / "kept"
    if not kept.exists():
        kept.mkdir()
        where = CASES[card, form].build(kept / "raw")
        (tmp_path / "where").write_text(str(where.relative_to(kept)))
        assert read_all(card, where, form) > 0
    broken = tmp_path / "broken"
    shutil.rmtree(broken, ignore_errors=True)
    shutil.copytree(kept, broken, symlinks=True)
    files = sorted(path for path in broken.rglob("*") if path.is_file())
    # One file of each kind: a hundred pictures are damaged alike.
    kinds = {path.suffix.lower() or path.name: path for path in reversed(files)}
    victim = data.draw(st.sampled_from(sorted(kinds.values())))
    damage = data.draw(damages())
    victim.write_bytes(damage(victim.read_bytes()))
    with bounded():
        for asked in (form, None):
            with suppress(FusekitError):
                read_all(card, broken / (tmp_path / "where").read_text(), asked)
