"""A mixture opened by URL: its tables are fetched once, checked, and kept by digest."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from support.object_server import HttpServer, environment, s3_server, upload
from support.recipes import build
from support.stores import make_dataset

from fusekit.errors import MixtureError, StorageError
from fusekit.mixture.mixture import Mixture
from fusekit.store.layout import open_store

TABLES = ["index.arrow", "shards.parquet", "keys.arrow", "by_class.arrow", "classes.parquet"]


@pytest.fixture
def store(tmp_path):
    storage = open_store(tmp_path / "served" / "store", create=True)
    make_dataset(storage, "vgg", {"ann": 20, "bob": 13}, index=8)
    make_dataset(storage, "crawl", 9)
    build(storage, "vgg", unlabeled=["crawl"])
    return storage


@pytest.fixture
def web(store, tmp_path, monkeypatch):
    for name, value in environment(cache=tmp_path / "cache").items():
        monkeypatch.setenv(name, value)
    server = HttpServer(tmp_path / "served")
    yield server
    server.close()


@pytest.fixture
def url(web):
    return f"{web.url}/store/mixtures/m"


def same(remote, local):
    assert remote.fingerprint == local.fingerprint
    assert remote.classes.equals(local.classes)
    assert remote.shards.equals(local.shards)
    assert np.array_equal(remote.by_class, local.by_class)
    for column in ("shard", "offset", "length", "label", "source", "format", "digest"):
        assert np.array_equal(getattr(remote.index, column), getattr(local.index, column))
    assert remote.key(40) == local.key(40)


def test_a_mixture_opened_by_url_is_the_local_one(url, web, store):
    remote, local = Mixture.open(url), Mixture.open("m", store.root)
    same(remote, local)
    assert (remote.url, local.url) == (f"{web.url}/store", None)
    assert remote.shard_names == local.shard_names
    assert remote.shard_url(1) == f"{web.url}/store/{remote.shard_names[1]}"
    assert local.shard_url(1) == str(store.path(local.shard_names[1]))
    with pytest.raises(MixtureError, match=r"m: its shards are in http.*; expected a local store"):
        _ = remote.shard_paths


def test_a_mixture_in_s3_is_the_local_one(store, tmp_path, monkeypatch):
    with s3_server(tmp_path / "log") as endpoint:
        for name, value in environment(endpoint, tmp_path / "cache").items():
            monkeypatch.setenv(name, value)
        upload(store.root, endpoint, "big/store")
        same(Mixture.open("s3://faces/big/store/mixtures/m/"), Mixture.open("m", store.root))
        same(Mixture.open("m", "s3://faces/big/store"), Mixture.open("m", store.root))
        with pytest.raises(
            MixtureError, match="s3://faces/big/store/mixtures/n: holds no finished"
        ):
            Mixture.open("n", "s3://faces/big/store")
        with pytest.raises(MixtureError, match=r"s3://none/store/mixtures/m: holds no fin"):
            Mixture.open("m", "s3://none/store")


def test_the_first_opening_fetches_the_tables_the_second_only_the_record(url, web):
    Mixture.open(url)
    start = "store/mixtures/m"
    assert web.whole() == [
        f"{start}/mixture.json", *(f"{start}/{name}" for name in TABLES), "store/store.json",
    ]  # fmt: skip
    web.asked.clear()
    Mixture.open(url, verify="files")
    assert [path for _, path, _ in web.asked] == [f"{start}/mixture.json"]


def test_a_store_named_by_the_environment_may_be_a_url(url, web, monkeypatch):
    monkeypatch.setenv("FUSEKIT_STORE", f"{web.url}/store/")
    assert Mixture.open("m").url == f"{web.url}/store"


def test_a_mixture_that_was_built_anew_is_fetched_anew(url, store):
    first = Mixture.open(url)
    build(store, "vgg", overwrite=True)
    second = Mixture.open(url)
    assert first.fingerprint != second.fingerprint
    assert (first.unlabeled, second.unlabeled) == (9, 0)
    assert len(first.index) == 42  # mapped from files of its own


def test_kept_tables_that_were_damaged_are_fetched_anew(url, web):
    path = Mixture.open(url).path
    os.truncate(path / "keys.arrow", 10)
    assert Mixture.open(url).key(0)
    data = bytearray((path / "index.arrow").read_bytes())
    data[len(data) // 2] ^= 1
    (path / "index.arrow").write_bytes(data)
    web.asked.clear()
    Mixture.open(url)
    assert len(web.asked) == 1  # sizes alone do not tell
    Mixture.open(url, verify="files")
    assert (path / "index.arrow").read_bytes() != data


def test_a_table_with_another_digest_is_fetched_once_more_then_refused(url, web):
    web.faults["store/mixtures/m/index.arrow"] = ["other"]
    assert Mixture.open(url).num_classes == 2
    web.faults["store/mixtures/m/by_class.arrow"] = ["other"] * 2
    os.truncate(Mixture.open(url).path / "index.arrow", 10)
    with pytest.raises(
        MixtureError, match=r"by_class.arrow: has another sha256 than the mixture w"
    ):
        Mixture.open(url)
    assert Mixture.open(url).num_classes == 2


def test_a_table_that_was_not_copied_is_named(url, store):
    store.path("mixtures/m/keys.arrow").unlink()
    with pytest.raises(StorageError, match=r"store/mixtures/m/keys.arrow: is not there \(404\)"):
        Mixture.open(url)


def test_what_is_no_mixture_is_told(url, web, store):
    with pytest.raises(MixtureError, match=r"/store: is no mixture's URL; expected STORE/mixtures"):
        Mixture.open(f"{web.url}/store")
    with pytest.raises(MixtureError, match="mixtures/x: holds no finished mixture; build it with"):
        Mixture.open(f"{web.url}/store/mixtures/x")
    about = json.loads(store.read("mixtures/m/mixture.json"))
    for spoil in (
        lambda a: a.pop("files"), lambda a: a["files"].pop("keys.arrow"),
        lambda a: a["files"]["keys.arrow"].update(sha256="../../x"),
    ):  # fmt: skip
        spoiled = json.loads(json.dumps(about))
        spoil(spoiled)
        store.write("mixtures/m/mixture.json", json.dumps(spoiled).encode())
        with pytest.raises(MixtureError, match=r"m: mixture\.json is damaged; copy the store"):
            Mixture.open(url)


def test_a_cache_that_can_not_be_written_is_one_line(url, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("FUSEKIT_CACHE", str(tmp_path / "file"))
    with pytest.raises(
        StorageError, match=r"file/mixtures: can't keep the mixture's tables: Not a dir.*FUSEKIT_CA"
    ):
        Mixture.open(url)


def test_a_password_in_the_url_is_refused_and_not_repeated():
    with pytest.raises(StorageError, match="holds a name or password") as error:
        Mixture.open("s3://key:hunter2@faces/store/mixtures/m")
    assert "hunter2" not in str(error.value)


def test_several_processes_open_it_at_once_and_one_fetches(url, web):
    code = f"from fusekit.mixture.mixture import Mixture; print(len(Mixture.open({url!r}).index))"
    web.delay_s = 0.05
    running = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [process.communicate()[0] for process in running] == ["42\n"] * 3
    assert web.whole().count("store/mixtures/m/index.arrow") == 1
    assert web.whole().count("store/mixtures/m/mixture.json") == 3
