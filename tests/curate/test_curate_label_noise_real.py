"""Label noise that is really there: in Glint, CelebA and Pins."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.real_store import copy_store

from fusekit.curate.clusters import cluster_dataset
from fusekit.curate.label_noise import find_label_noise
from fusekit.store import layout
from fusekit.store.findings import find_fresh, read_finding_table
from fusekit.store.layout import open_store


@pytest.fixture(scope="module")
def store(real_store, tmp_path_factory):
    return copy_store(real_store, tmp_path_factory.mktemp("noise") / "store")


def rows_of(store, dataset):
    storage = open_store(store)
    finding = find_fresh(storage, "label-noise", datasets=[dataset])
    return read_finding_table(storage, finding).to_pylist()


def test_glint_has_one_class_of_two_people_and_pins_has_none(store):
    result = find_label_noise("glint", store=store)
    assert result.split == ("2",)
    assert [n.split for n in result.noisy if n.name == "Gwyneth Paltrow"] == [12]
    assert find_label_noise("pins", store=store).split == ()


def test_celebas_pictures_under_two_identities_are_found(store):
    find_label_noise("celeba", store=store)
    rows = {row["key"]: row for row in rows_of(store, "celeba")}
    storage = open_store(store)
    names = pq.read_table(storage.path(layout.identities("celeba"))).to_pylist()
    name = {row["identity"]: row["name"] for row in names}
    files = sorted(storage.path("datasets/celeba").glob("samples-*.parquet"))
    manifest = pq.read_table(files, columns=["key", "identity", "content_digest"]).to_pylist()
    by_bytes = {}
    for row in manifest:
        by_bytes.setdefault(row["content_digest"], []).append(row)
    conflicts = [
        {name[r["identity"]]: rows.get(r["key"]) for r in copies}
        for copies in by_bytes.values()
        if len({r["identity"] for r in copies}) > 1
    ]
    both = [c for c in conflicts if set(c) == {"07312", "07317"}]
    assert len(both) == 4
    for conflict in both:
        flagged = conflict["07312"]
        assert name[flagged["nearest_identity"]] == "07317"
        assert conflict["07317"] is None
    # 07312 is several people. Its largest cluster is 07314's person, whose four shared pictures
    # are no noise but overlap; the other six are flagged.
    assert len(conflicts) == 10
    unflagged = [set(c) for c in conflicts if c["07312"] is None]
    assert unflagged == [{"07312", "07314"}] * 4


def test_pins_without_its_labels_is_grouped_by_person(store):
    whispers = cluster_dataset("pins", truth="identity", store=store).scores
    infomap = cluster_dataset("pins", method="infomap", truth="identity", store=store).scores
    for scores in (whispers, infomap):
        assert scores.bcubed_precision > 0.99
        assert scores.bcubed_f > 0.95
        assert scores.pairwise_f > 0.95


def test_the_same_store_gives_the_same_clusters(store):
    first = cluster_dataset("celeba", store=store)
    assert cluster_dataset("celeba", store=store).finding == first.finding
    assert np.all(np.diff(first.sizes) <= 0)
