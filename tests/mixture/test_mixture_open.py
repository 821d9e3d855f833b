import json
import os
import shutil
from fractions import Fraction

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.recipes import build, change_fingerprint
from support.stores import make_dataset

from fusekit.errors import FingerprintError, MixtureError, StorageError
from fusekit.fingerprint import file_sha256, fingerprint
from fusekit.loader.loader import MixtureLoader
from fusekit.mixture.index import open_index
from fusekit.mixture.mixture import Mixture
from fusekit.report.verify import verify_store
from fusekit.store.layout import open_store
from fusekit.store.sql import query


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    storage = open_store(tmp_path_factory.mktemp("made") / "s", create=True)
    make_dataset(storage, "vgg", {"ann": 9, "bob": 12}, index=8)
    make_dataset(storage, "rec", {"0": 4, "1": 7, "2": 1}, index=3, seed=1)
    make_dataset(storage, "crawl", 20)
    batch = {"size": 32, "unlabeled_fraction": "1/3"}
    build(storage, "vgg", "rec", unlabeled=["crawl"], batch=batch, seed=5)
    return storage.root


@pytest.fixture
def storage(made, tmp_path):
    return open_store(shutil.copytree(made, tmp_path / "s"))


@pytest.fixture
def path(storage):
    return storage.path("mixtures/m")


def test_an_opened_mixture_tells_what_it_holds(path):
    mixture = Mixture.open(path)
    assert (mixture.name, mixture.path, mixture.num_classes) == ("m", path, 5)
    assert (mixture.labeled, mixture.unlabeled) == (33, 20)
    assert (mixture.batch_size, mixture.unlabeled_fraction, mixture.seed) == (32, Fraction(1, 3), 5)
    assert mixture.crop_size == (112, 112)
    assert mixture.classes["identity"].to_pylist() == ["ann", "bob", "0", "1", "2"]
    assert [(s.name, s.kind, s.index, s.store_index, s.first_row) for s in mixture.sources] == [
        ("vgg", "labeled", 0, 8, 0), ("rec", "labeled", 1, 3, 21),
        ("crawl", "unlabeled", 2, 1000, 33),
    ]  # fmt: skip


def test_class_ranges_are_one_pair_for_each_labeled_dataset(path):
    mixture = Mixture.open(path)
    assert mixture.class_ranges.dtype == np.int64
    assert mixture.class_ranges.tolist() == [[0, 2], [2, 5]]
    assert mixture.dataset_classes(1).tolist() == [2, 3, 4]
    for source in (-1, 2):
        with pytest.raises(MixtureError, match=f"no labeled dataset {source}; expected 0 to 1"):
            mixture.dataset_classes(source)


def test_a_mixture_opens_by_its_name_in_the_store(storage, monkeypatch):
    assert Mixture.open("m", storage.root).fingerprint
    monkeypatch.setenv("FUSEKIT_STORE", str(storage.root))
    assert Mixture.open("m").name == "m"


def test_a_store_can_be_moved(storage, tmp_path):
    before = Mixture.open(storage.path("mixtures/m")).fingerprint
    moved = shutil.move(storage.root, tmp_path / "elsewhere")
    mixture = Mixture.open(f"{moved}/mixtures/m", verify="files")
    assert mixture.fingerprint == before
    assert all(path.is_file() for path in mixture.shard_paths)


def test_the_fingerprint_changes_with_rows_and_labels_not_with_the_batch(storage):
    def fingerprint(*labeled, **more):
        build(storage, *labeled, overwrite=True, **more)
        return Mixture.open("m", storage.root).fingerprint

    first = fingerprint("vgg", "rec")
    assert first == fingerprint("vgg", "rec", batch={"size": 8})
    assert first == fingerprint("vgg", "rec", name="m")
    others = {
        fingerprint("rec", "vgg"),
        fingerprint("vgg"),
        fingerprint("vgg", "rec", unlabeled=["crawl"]),
        fingerprint({"dataset": "vgg", "max_images": 3}, "rec"),
        fingerprint("vgg", "rec", seed=1),
        fingerprint("vgg", "rec", labels="naive"),
    }
    assert len(others | {first}) == 7


def test_a_key_outside_the_rows_is_refused(path):
    mixture = Mixture.open(path)
    for row in (-1, 53):
        with pytest.raises(MixtureError, match=f"m: no row {row}; expected 0 to 52"):
            mixture.key(row)


def test_no_mixture_is_named_with_the_next_step(storage, tmp_path):
    with pytest.raises(MixtureError, match="holds no finished mixture; fusekit build-mixture"):
        Mixture.open(tmp_path)
    with pytest.raises(MixtureError, match="mixtures/none: holds no finished mixture"):
        Mixture.open("none", storage.root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda about: about.update(format_version=3), "has mixture format 3; expected at most 2"),
        (lambda about: about.update(format_version="x"), "mixture.json is damaged; fusekit build"),
        (lambda about: about.pop("datasets"), "mixture.json is damaged"),
        (lambda about: about["recipe"].pop("name"), "mixture.json is damaged"),
        (lambda about: about.update(name="other"), "holds the mixture 'other'; expected the fol"),
    ],
)
def test_a_changed_mixture_json_is_refused(path, change, message):
    about = json.loads((path / "mixture.json").read_text())
    change(about)
    (path / "mixture.json").write_text(json.dumps(about))
    with pytest.raises(MixtureError, match=message):
        Mixture.open(path)


@pytest.mark.parametrize("text", ["", "[]", "{", "null"])
def test_a_mixture_json_that_is_none_is_refused(path, text):
    (path / "mixture.json").write_text(text)
    with pytest.raises(MixtureError, match=r"mixture.json is damaged"):
        Mixture.open(path)


def test_a_missing_or_short_file_is_named(path):
    (path / "keys.arrow").unlink()
    with pytest.raises(MixtureError, match=r"m: keys.arrow is missing; fusekit build-mixture with"):
        Mixture.open(path)
    (path / "keys.arrow").write_bytes(b"short")
    with pytest.raises(MixtureError, match=r"m: keys.arrow has not its \d+ bytes"):
        Mixture.open(path)
    assert Mixture.open(path, verify="none").num_classes == 5


def test_a_flipped_byte_is_found_when_asked(path):
    data = bytearray((path / "index.arrow").read_bytes())
    data[len(data) // 2] ^= 1
    (path / "index.arrow").write_bytes(data)
    Mixture.open(path)
    with pytest.raises(
        MixtureError, match=r"index.arrow has another sha256 than it was built with"
    ):
        Mixture.open(path, verify="files")


def test_files_that_are_no_index_are_refused(path, tmp_path):
    with pytest.raises(StorageError, match=r"none.arrow: is not there; build the mixture again"):
        open_index(tmp_path / "none.arrow")
    (tmp_path / "text.arrow").write_text("no arrow")
    with pytest.raises(StorageError, match=r"text.arrow: is damaged"):
        open_index(tmp_path / "text.arrow")
    with pytest.raises(StorageError, match=r"keys.arrow: is no index of this release"):
        open_index(path / "keys.arrow")


def test_a_dataset_that_is_gone_is_named(storage, path):
    shutil.rmtree(storage.path("datasets/rec"))
    with pytest.raises(FingerprintError, match=r"m: its dataset rec can't be read \(is not ingest"):
        Mixture.open(path)


def test_a_missing_or_short_shard_is_named_before_a_run_starts(path):
    shard = Mixture.open(path).shard_paths[0]
    size = shard.stat().st_size
    os.truncate(shard, size - 512)
    found = rf"{shard.name} has {size - 512} bytes; expected {size} bytes; fusekit verify tells"
    with pytest.raises(MixtureError, match=found):
        Mixture.open(path)
    shard.unlink()
    with pytest.raises(MixtureError, match=rf"{shard.name} is missing; expected {size} bytes"):
        Mixture.open(path)


def test_a_dataset_that_was_ingested_anew_is_named(storage, path):
    shutil.rmtree(storage.path("datasets/rec"))
    make_dataset(storage, "rec", {"0": 4, "1": 7, "2": 1}, index=3, seed=2)
    with pytest.raises(FingerprintError) as error:
        Mixture.open(path)
    assert "m: rec was ingested anew since: rec-000000.tar differs; expected the dataset of" in str(
        error.value
    )
    assert str(error.value).endswith("build the mixture again")


def test_a_dataset_that_only_grew_is_no_fault(storage, path):
    change_fingerprint(storage, "rec", "2" * 64)
    assert Mixture.open(path).num_classes == 5


def as_format_1(path):
    """Make a mixture what the release before merged labels wrote."""
    classes = path / "classes.parquet"
    pq.write_table(pq.read_table(classes).drop_columns(["datasets"]), classes)
    about = json.loads((path / "mixture.json").read_text())
    for key in ("findings", "checked_against", "removed", "merged", "digest"):
        del about[key]
    for source in about["datasets"]:
        del source["steps"], source["classes"]
    size, sha256 = classes.stat().st_size, file_sha256(classes)
    about |= {"format_version": 1}
    about["files"]["classes.parquet"] = {"size": size, "sha256": sha256}
    about["digest"] = fingerprint(about)
    (path / "mixture.json").write_text(json.dumps(about, indent=1, sort_keys=True))


def test_a_mixture_from_before_merged_labels_is_read_as_ever(storage, path):
    now = Mixture.open(path, verify="files")
    wanted, fresh = now.classes, query("SELECT * FROM classes", storage.root)
    as_format_1(path)
    mixture = Mixture.open(path, verify="files")
    assert mixture.classes.equals(wanted)
    assert mixture.dataset_classes(1).tolist() == [2, 3, 4]
    assert query("SELECT * FROM classes", storage.root).equals(fresh)
    assert verify_store(storage.root).problems == ()
    with MixtureLoader(mixture, arrays="numpy", batch_size=None) as loader:
        assert next(iter(loader)).n_labeled == 22
    batch = {"size": 32, "unlabeled_fraction": "1/3"}
    again = build(storage, "vgg", "rec", unlabeled=["crawl"], batch=batch, seed=5)
    assert (again.state, again.removed, again.sources[0].classes) == ("unchanged", (), 2)
    assert again.fingerprint == mixture.fingerprint


def test_a_rule_of_a_mixture_from_before_steps_is_told(storage, path):
    build(storage, {"dataset": "vgg", "max_images": 3}, name="n")
    as_format_1(storage.path("mixtures/n"))
    (told,) = build(storage, {"dataset": "vgg", "max_images": 3}, name="n").sources
    (step,) = told.steps
    assert (step.rule, step.rows_in, step.taken, step.rows_out, step.identities) == (
        "max_images", 21, 15, 6, None,
    )  # fmt: skip
