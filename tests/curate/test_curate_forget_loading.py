"""Trainings go on while and after somebody is erased, and nobody serves them the erased crops."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.erasures import crop_of, files_with, make_whole_store, samples
from support.recipes import build

from fusekit.curate.forget import forget
from fusekit.errors import FindingError, MixtureError
from fusekit.faces.image import decode_image
from fusekit.loader.loader import MixtureLoader
from fusekit.mixture.build import build_mixture
from fusekit.mixture.mixture import Mixture
from fusekit.mixture.select import select_rows
from fusekit.report.verify import verify_store
from fusekit.schema import LABEL_NOISE_SCHEMA
from fusekit.store.datasets import open_dataset
from fusekit.store.findings import list_findings, write_finding
from fusekit.store.layout import open_store


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("loading") / "store"
    make_whole_store(path)
    return path


@pytest.fixture
def store(whole, tmp_path, monkeypatch):
    monkeypatch.setenv("FUSEKIT_CACHE", str(tmp_path / "cache"))
    return Path(shutil.copytree(whole, tmp_path / "store"))


def crops_of(store, person):
    rows = [row for row in samples(store, "people") if row["identity"] == person]
    return {decode_image(crop_of(store, row), row["key"]).tobytes() for row in rows}


def loader(store, **options):
    options = {"batch_size": None, "arrays": "numpy", "layout": "hwc", "threads": 1,
               "max_bad": 1.0, "augment": None} | options  # fmt: skip
    return MixtureLoader(Mixture.open("ten", store), **options)


def seen(batches):
    return {np.ascontiguousarray(image).tobytes() for batch in batches for image in batch.images}


def test_a_loader_that_was_open_before_gets_no_erased_crop(store):
    erased = crops_of(store, "Ann Lee")
    with loader(store) as batches:
        assert seen(batches) & erased
        forget(identity="Ann Lee", store=store)
        list(batches)  # the first of these were ready before
        again = list(batches)
        assert not seen(again) & erased
        assert all(len(batch.labels) == 8 for batch in again)


def test_a_state_saved_before_is_taken_after(store):
    with loader(store) as batches:
        steps = iter(batches)
        next(steps)
        state = batches.state_dict()
        expected = [batch.labels.tolist() for batch in steps]
    erased = crops_of(store, "bob")
    forget(identity="bob", store=store)
    with loader(store) as batches:
        batches.load_state_dict(state)
        found = list(batches)
    assert len(found) == len(expected)
    assert not seen(found) & erased


def test_decoded_crops_are_overwritten_in_their_file(store, tmp_path):
    erased, others = crops_of(store, "Ann Lee"), crops_of(store, "bob")
    cache = {"decoded": True, "shards": False, "size": 10**8}
    with loader(store, cache=cache) as batches:
        for _ in range(2):
            list(batches)
        (file,) = (tmp_path / "cache/decoded").glob("*.crops")
        assert any(crop in file.read_bytes() for crop in erased)
        forget(identity="Ann Lee", store=store)
        kept = file.read_bytes()
        assert not any(crop in kept for crop in erased)
        assert any(crop in kept for crop in others)
        list(batches)  # the first of these were ready before
        assert not seen(batches) & erased


def test_cached_shards_and_tables_of_an_object_store_are_dropped(store, tmp_path):
    mixture = (store / "mixtures/ten/mixture.json").read_bytes()
    shards = [hashlib.sha256(path.read_bytes()).hexdigest()
              for path in sorted((store / "datasets/people/shards").glob("*.tar"))]  # fmt: skip
    cached = [tmp_path / "cache/shards" / f"{digest}.tar" for digest in [*shards, "0" * 64]]
    tables = tmp_path / "cache/mixtures" / hashlib.sha256(mixture).hexdigest()[:32]
    for path in (*cached, tables / "classes.parquet"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"some bytes")
    forget(identity="Ann Lee", store=store)
    assert [path.exists() for path in cached] == [False, False, True]
    assert not tables.exists()


def test_a_mixture_that_was_built_before_is_still_the_recipes(store):
    forget(identity="Ann Lee", store=store)
    recipe = Mixture.open("ten", store).recipe
    assert build_mixture(recipe, store).state == "unchanged"


def test_a_mixture_that_is_built_after_has_another_fingerprint(store):
    before = Mixture.open("ten", store)
    forget(identity="Ann Lee", store=store)
    summary = build_mixture(before.recipe, store, overwrite=True)
    assert summary.fingerprint != before.fingerprint
    assert summary.labeled == before.labeled - 9
    assert build_mixture(before.recipe, store).state == "unchanged"
    assert verify_store(store).problems == ()


def test_a_mixture_that_is_being_built_is_not_written_over_an_erasure(store, monkeypatch):
    def select_then_forget(*given):
        chosen = select_rows(*given)
        forget(identity="Ann Lee", store=store)
        return chosen

    monkeypatch.setattr("fusekit.mixture.build.select_rows", select_then_forget)
    message = "late: samples were erased while it was built; build it again when fusekit forget is"
    with pytest.raises(MixtureError, match=message):
        build(open_store(store), "people", name="late")
    assert files_with(store, "Ann Lee") == []
    monkeypatch.undo()
    assert build(open_store(store), "people", name="late").labeled == 15
    assert verify_store(store).problems == ()


def test_a_finding_that_was_being_made_is_not_written_over_an_erasure(store):
    storage = open_store(store)
    info = open_dataset(storage, "people")
    about = {"dataset": "people", "inputs": {"people": info.fingerprint}}
    row = {
        "key": "k", "identity": "Ann Lee", "identity_index": 0, "flag": "outlier", "cluster": -1,
        "score": 0.1, "nearest_identity": None, "nearest_score": None, "decision": "drop",
    }  # fmt: skip
    forget(identity="Ann Lee", store=store)
    there = list_findings(storage, "label-noise")
    message = "people: samples were erased while this ran; run it again when fusekit forget is done"
    with pytest.raises(FindingError, match=message):
        write_finding(storage, "label-noise", about, [row], LABEL_NOISE_SCHEMA, read=[info])
    assert list_findings(storage, "label-noise") == there
    assert files_with(store, "Ann Lee") == []
    now = open_dataset(storage, "people")
    assert write_finding(storage, "label-noise", about, [], LABEL_NOISE_SCHEMA, read=[now])
