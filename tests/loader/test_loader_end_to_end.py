"""From stores on disk through a real mixture to batches."""

import hashlib
from fractions import Fraction

import numpy as np
import pyarrow.parquet as pq
import pytest
import simplejpeg
from support.stores import make_dataset

from fusekit import MixtureLoader
from fusekit.errors import FusekitError
from fusekit.mixture.build import build_mixture
from fusekit.mixture.mixture import Mixture
from fusekit.store import layout
from fusekit.store.layout import open_store

RECIPE = """
name: small
labeled: [{dataset: one}, {dataset: two}]
unlabeled: [{dataset: crawl}, {dataset: more}]
batch: {size: 16, unlabeled_fraction: 0.25}
seed: 5
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loader")
    storage = open_store(folder / "store", create=True)
    make_dataset(storage, "one", {"a": 30, "b": 21})
    make_dataset(storage, "two", {"b": 18, "c": 19, "d": 10}, seed=1)
    make_dataset(storage, "crawl", 20, seed=2)
    make_dataset(storage, "more", 7, seed=3)
    (folder / "small.yaml").write_text(RECIPE)
    build_mixture(folder / "small.yaml", folder / "store")
    return storage


@pytest.fixture
def path(store):
    return store.path(layout.mixture("small"))


def truth(store):
    """Every sample by key, as the manifests say it: dataset, identity and pixels."""
    found = {}
    for name in ("one", "two", "crawl", "more"):
        for row in pq.read_table(store.path(layout.samples(name, 0))).to_pylist():
            shard = store.path(f"datasets/{name}/shards/{row['shard']}")
            data = shard.read_bytes()[row["offset"] : row["offset"] + row["length"]]
            assert hashlib.sha256(data).digest()[:16] == row["content_digest"]
            found[name, row["key"]] = (row["identity"], simplejpeg.decode_jpeg(data))
    return found


def test_a_batch_holds_what_the_manifests_say_of_its_keys(store, path):
    names = ("one", "two", "crawl", "more")
    labels = {"one": {"a": 0, "b": 1}, "two": {"b": 2, "c": 3, "d": 4}}
    samples, seen = truth(store), []
    with MixtureLoader(
        path, None, layout="hwc", arrays="numpy", verify="sample", augment="none"
    ) as loader:
        for batch in loader:
            assert (len(batch), batch.n_labeled) == (16, 12)
            for place, key in enumerate(batch.keys):
                name = names[batch.dataset_index[place]]
                identity, pixels = samples[name, key]
                assert np.array_equal(batch.images[place], pixels)
                assert batch.labels[place] == labels.get(name, {}).get(identity, -1)
                assert (identity is not None) == (place < batch.n_labeled)
                seen.append((name, key))
        assert loader.report().stood_in == 0
    # 98 labeled images, 12 a batch: nine steps take each once and ten of the next cycle.
    labeled = [s for s in seen if s[0] in labels]
    assert len(labeled) == 108
    assert len(set(labeled)) == 98


def test_the_loader_takes_seed_share_and_size_from_the_recipe(path):
    with MixtureLoader(Mixture.open(path), None, arrays="numpy") as loader:
        assert loader.batch_size == 16
        order = loader.state_dict()["order"]
        assert (order["seed"], Fraction(order["unlabeled_fraction"])) == (5, Fraction(1, 4))


def test_a_place_without_a_mixture_says_so(tmp_path):
    with pytest.raises(FusekitError):
        MixtureLoader(tmp_path / "none")
