"""Real people are erased from a copy of the real store, and every byte of it is searched."""

import pyarrow.parquet as pq
import pytest
from support.erasures import crop_of, files_with, files_with_windows, samples, windows
from support.real_store import copy_store

from fusekit.curate.forget import forget
from fusekit.report.verify import verify_store

pytestmark = pytest.mark.shared


@pytest.fixture
def store(real_store, tmp_path, monkeypatch):
    monkeypatch.setenv("FUSEKIT_CACHE", str(tmp_path / "cache"))
    return copy_store(real_store, tmp_path / "store")


def telling(crop):
    """Windows of a picture's own data: its head and its flat borders are those of others too."""
    return {w for w in windows(crop[700:]) if len(set(w)) > 44}


def test_a_person_of_pins_is_erased_from_every_byte(store):
    mine = [row for row in samples(store, "pins") if row["identity"] == "0"]
    names = pq.read_table(store / "datasets/pins/plan/identities.parquet").to_pylist()
    assert names[0]["name"] == "Adriana Lima"
    # Every window of some crops, and of each of the others a few: all of them take a minute.
    wanted = set[bytes]().union(*(telling(crop_of(store, row)) for row in mine[:2]))
    for row in mine[2::10]:
        wanted |= set(sorted(telling(crop_of(store, row)))[::100])
    assert len(mine) == 100
    assert len(wanted) > 4_000
    result = forget(identity="adriana_lima", store=store)
    assert (result.samples, result.shards, result.proved) == (100, 2, True)
    assert files_with_windows(store, wanted) == []
    assert files_with(store, "Adriana Lima") == []
    sources = {row["source"] for row in mine}
    left = samples(store, "pins")
    assert not sources & {row["source"] for row in left}
    assert verify_store(store).problems == ()


def test_a_name_of_two_datasets_is_erased_from_both(store):
    result = forget(identity="Ben Affleck", everywhere=True, store=store)
    found = {each.dataset: each.samples for each in result.datasets}
    # The five's folder "ben_afflek" has a typing error, and needs an overlap finding.
    assert found == {"lfw": 6, "pins": 100}
    assert result.proved
    assert verify_store(store).problems == ()


def test_the_file_under_two_identities_goes_from_both(store):
    people = {}
    for row in samples(store, "celeba"):
        people.setdefault(row["content_digest"], []).append(row)
    conflicts = [rows for rows in people.values() if len({r["identity"] for r in rows}) > 1]
    assert conflicts
    for rows in conflicts[:1]:
        result = forget(key=rows[0]["key"], dataset="celeba", store=store)
        assert (result.samples, result.datasets[0].copies) == (2, 1)
        assert result.proved
        assert sum(row["length"] == 0 for row in samples(store, "celeba")) == 2
