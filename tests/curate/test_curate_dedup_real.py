"""Copies among real photographs: what is known of them is found."""

import json

import pyarrow.parquet as pq
import pytest
from support.real_store import copy_store
from typer.testing import CliRunner

from fusekit.cli.main import app
from fusekit.curate.dedup import find_duplicates
from fusekit.store import layout
from fusekit.store.datasets import open_dataset
from fusekit.store.findings import find_fresh, read_finding_table
from fusekit.store.layout import open_store

pytestmark = pytest.mark.shared


@pytest.fixture(scope="module")
def store(real_store, tmp_path_factory):
    return copy_store(real_store, tmp_path_factory.mktemp("dedup") / "store")


def numbers_of(store, dataset):
    """Identity to the number that the release gives it."""
    table = pq.read_table(store / layout.identities(dataset)).to_pylist()
    return {row["identity"]: row["name"] for row in table}


def test_the_file_that_celeba_has_under_two_identities_is_found(store):
    result = find_duplicates(["celeba"], near=False, store=store)
    names = numbers_of(store, "celeba")
    people = [{names[identity] for identity in c.identities} for c in result.conflicts]
    assert people.count({"07317", "07312"}) == 4
    assert result.exact == 11
    assert len(people) == 10
    assert result.dropped == 1  # the one copy of these that its own identity holds twice


def test_copies_between_real_sets_are_found_with_their_conflicts(store):
    sets = ["celeba", "glint", "lfw"]
    result = find_duplicates(sets, store=store)
    # A still of The Matrix is in LFW and Glint, a portrait in LFW and CelebA.
    assert result.between["lfw", "glint"] == 1
    assert result.between["lfw", "celeba"] == 1
    assert result.exact == 11
    assert 110 <= result.near <= 150
    # LFW holds one picture under both names.
    assert ("Gabrielle_Rose", "Martha_Bowen") in [c.identities for c in result.conflicts]
    storage = open_store(store)
    table = read_finding_table(storage, find_fresh(storage, "duplicates", datasets=sets))
    kept = [row for row in table.to_pylist() if row["dataset"] == "lfw"]
    assert {row["decision"] for row in kept} <= {"keep", "unsure"}


def test_the_command_prints_json_that_others_can_read(store):
    ran = CliRunner().invoke(app, ["dedup", "five", "crawl", "--store", str(store), "--json"])
    assert ran.exit_code == 0, ran.output
    about = json.loads(ran.stdout.splitlines()[-1])
    assert [about[name] for name in ("exact", "near", "conflicts")] == [0, 3, []]
    assert about["samples"] == sum(
        open_dataset(open_store(store), d).samples for d in ("five", "crawl")
    )
