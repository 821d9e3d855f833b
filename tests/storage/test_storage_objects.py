"""Objects read from real servers on loopback: S3's protocol, plain HTTP, and what breaks."""

import hashlib
import logging
import subprocess
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.object_server import (
    KEY,
    SECRET,
    FaultyProxy,
    HttpServer,
    environment,
    s3_server,
    upload,
)

from fusekit.errors import MissingExtraError, StorageError
from fusekit.storage.objects import ObjectStore
from fusekit.storage.retry import Fault, Patience, Retry

QUICK = Retry(tries=4, first_s=0.01, most_s=0.05, total_s=20)
DATA = hashlib.shake_256(b"objects").digest(3_000_000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("objects")
    (folder / "a").mkdir()
    (folder / "a/big.bin").write_bytes(DATA)
    (folder / "a/small.bin").write_bytes(b"small")
    (folder / "empty.bin").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def s3(folder, tmp_path_factory):
    with s3_server(tmp_path_factory.mktemp("moto") / "log") as endpoint:
        upload(folder, endpoint, "store")
        yield endpoint


@pytest.fixture
def web(folder):
    server = HttpServer(folder)
    yield server
    server.close()


@pytest.fixture
def proxy(web):
    proxy = FaultyProxy(web.port)
    yield proxy
    proxy.close()


@pytest.fixture
def in_s3(s3, monkeypatch):
    for name, value in environment(s3).items():
        monkeypatch.setenv(name, value)
    return ObjectStore.open("s3://faces/store", QUICK)


def store_of(kind, request):
    if kind == "s3":
        return request.getfixturevalue("in_s3")
    return ObjectStore.open(request.getfixturevalue("web").url, QUICK)


@pytest.mark.parametrize("kind", ["s3", "http"])
def test_whole_objects_ranges_and_sizes_are_read(kind, request, tmp_path):
    store = store_of(kind, request)
    assert store.get("a/small.bin") == b"small"
    assert store.get("a/big.bin") == DATA
    assert store.get("empty.bin") == b""
    assert store.size("a/big.bin") == len(DATA)
    assert store.get_range("a/big.bin", 1_000_000, 70_000) == DATA[1_000_000:1_070_000]
    with (tmp_path / "copy").open("wb") as file:
        assert store.get_to_file("a/big.bin", file) == len(DATA)
    assert (tmp_path / "copy").read_bytes() == DATA
    assert store.retries == 0


@pytest.mark.parametrize("kind", ["s3", "http"])
def test_a_range_is_shorter_only_where_the_object_ends(kind, request):
    store = store_of(kind, request)
    assert store.get_range("a/small.bin", 3, 100) == b"ll"
    assert store.get_range("a/small.bin", 5, 1) == b""
    assert store.get_range("a/small.bin", 900, 100) == b""
    assert store.get_range("a/small.bin", 0, 0) == b""


def test_gs_reads_from_an_emulator_on_this_machine(web, monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", web.url)
    store = ObjectStore.open("gs://a", QUICK)
    assert store.get("small.bin") == b"small"
    assert store.get_range("small.bin", 2, 2) == b"al"
    assert store.size("small.bin") == 5
    with pytest.raises(StorageError, match=r"gs://a/none: is not there \(404\)"):
        store.get("none")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "example.org:4443")
    with pytest.raises(StorageError, match="STORAGE_EMULATOR_HOST: names another machine; expect"):
        ObjectStore.open("gs://a")


def test_s3_lists_what_is_there(in_s3):
    assert in_s3.list() == ["a/big.bin", "a/small.bin", "empty.bin"]
    assert in_s3.list("a") == ["a/big.bin", "a/small.bin"]
    assert in_s3.list("b") == []
    assert (in_s3.url, in_s3.where("a/x")) == ("s3://faces/store", "s3://faces/store/a/x")


def test_plain_http_servers_cannot_list(web):
    with pytest.raises(StorageError, match=r"the server (answered|can't)"):
        ObjectStore.open(web.url, QUICK).list()


@pytest.mark.parametrize("kind", ["s3", "http"])
def test_a_missing_object_has_its_own_line_and_is_not_tried_again(kind, request):
    store = store_of(kind, request)
    for read in (store.get, store.size, lambda name: store.get_range(name, 0, 1)):
        with pytest.raises(StorageError, match=r"a/none: is not there \(404\): it was removed, or"):
            read("a/none")
    assert store.retries == 0


def test_names_that_lead_out_are_refused(web):
    store = ObjectStore.open(web.url + "/a", QUICK)
    for name in ("../empty.bin", "/etc/passwd", ""):
        with pytest.raises(StorageError, match="leads out of the store"):
            store.get(name)


def test_a_broken_transfer_goes_on_where_it_stopped(web):
    web.faults["a/big.bin"] = ["cut"]
    store = ObjectStore.open(web.url, QUICK)
    assert store.get("a/big.bin") == DATA
    assert store.retries == 1
    first, second = (range_ for _, _, range_ in web.asked)
    assert first is None
    assert 0 < int(second.removeprefix("bytes=").removesuffix("-")) <= len(DATA) // 2


def test_a_broken_transfer_starts_over_where_ranges_are_unknown(web):
    web.ranges = False
    web.faults["a/big.bin"] = ["cut"]
    store = ObjectStore.open(web.url, QUICK)
    assert store.get("a/big.bin") == DATA
    with pytest.raises(StorageError, match="answers no range requests; read it with a cache"):
        store.get_range("a/big.bin", 1, 2)


def test_resets_slowness_cuts_and_503_are_survived(proxy):
    proxy.faults = ["503", "reset", "cut", "slow", "reset", None, "503", "cut"]
    store = ObjectStore.open(proxy.url, QUICK)
    assert store.get("a/big.bin") == DATA
    for start in range(0, 50_000, 10_000):
        assert store.get_range("a/big.bin", start, 5_000) == DATA[start : start + 5_000]
    assert proxy.met == ["503", "reset", "cut", "slow", "reset", "503", "cut"]
    assert store.retries == 6


def test_s3_behind_a_faulty_network_is_survived(s3, monkeypatch):
    proxy = FaultyProxy(int(s3.rpartition(":")[2]))
    for name, value in environment(proxy.url).items():
        monkeypatch.setenv(name, value)
    proxy.faults = ["503", "cut", "reset"]
    store = ObjectStore.open("s3://faces/store", QUICK)
    assert store.get("a/big.bin") == DATA
    assert store.retries == 3
    proxy.close()


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        ("503", "the server answered 503"), ("cut", "the transfer broke off"),
        ("reset", "the transfer broke off"),
    ],
)  # fmt: skip
def test_what_stays_broken_is_one_line_with_the_tries(proxy, fault, found):
    proxy.faults = [fault] * 99
    store = ObjectStore.open(proxy.url, QUICK)
    with pytest.raises(StorageError) as error:
        store.get_range("a/big.bin", 0, 50_000)
    message = str(error.value)
    assert message.startswith(f"{proxy.url}/a/big.bin: ")
    assert "(tried 4 times in 0 s); check the network and the server" in message
    assert "\n" not in message
    assert found in message
    assert store.retries == 3


def test_a_server_that_is_not_there_is_one_line():
    store = ObjectStore.open("http://127.0.0.1:9", QUICK)
    with pytest.raises(StorageError, match=r"9/x: can't connect to the server \(tried 4 times"):
        store.get("x")


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, r"can't be read without credentials \(401\); for s3:// set AWS_ACCESS"),
        (403, r"access is refused \(403\); for s3:// set AWS_ACCESS_KEY_ID and"),
        (400, "the server answered 400$"),
        ("region", "the bucket is in another region; set AWS_REGION"),
    ],
)
def test_a_refusal_has_its_own_line_and_is_not_tried_again(web, status, message):
    web.faults["a/small.bin"] = [status]
    store = ObjectStore.open(web.url, QUICK)
    with pytest.raises(StorageError, match=message):
        store.get("a/small.bin")
    assert store.retries == 0


def test_no_credential_is_in_an_error_a_traceback_or_a_log(web, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    for name, value in environment(web.url).items():
        monkeypatch.setenv(name, value)
    # The answers repeat every header of the request, the signature and the key's name among them.
    web.faults["faces/store/x"] = [503, 403, 503, 503, 503, 503]
    store = ObjectStore.open("s3://faces/store", QUICK)
    for _ in range(2):
        with pytest.raises(StorageError) as error:
            store.get("x")
        told = "".join(traceback.format_exception(error.value)) + repr(error.value) + repr(store)
        for secret in (KEY, SECRET, "Signature", "AWS4-HMAC"):
            assert secret not in told
            assert secret not in caplog.text
    assert "http" not in repr(error.value.__cause__)
    assert "s3://faces/store/x the server answered 503; trying again" in caplog.text


def test_a_missing_role_is_told_as_missing_credentials(monkeypatch, web):
    values = environment(web.url) | {"AWS_METADATA_ENDPOINT": "http://127.0.0.1:9"}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(StorageError, match="no credentials were found for it; for s3:// set AWS"):
        ObjectStore.open("s3://faces/store", QUICK).get("x")


def test_many_threads_read_at_once(in_s3):
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda k: in_s3.get_range("a/big.bin", k * 997, 500), range(40))
        assert all(data == DATA[k * 997 : k * 997 + 500] for k, data in enumerate(found))


def test_without_the_extra_the_line_to_install_it_is_given(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(MissingExtraError, match=r"needs the extra 'remote'; pip install 'fuseki"):
        ObjectStore.open("s3://faces/store")


def test_pauses_are_random_bounded_and_end_with_the_total_time():
    patience = Patience("x", Retry(tries=99, first_s=0.02, most_s=0.02, total_s=0.2), _never())
    started = time.monotonic()
    with pytest.raises(StorageError, match=r"x: broke \(tried \d+ times in 0 s\)"):
        while True:
            patience.pause(Fault("broke"))
    assert 0.15 < time.monotonic() - started < 2


def test_progress_starts_the_count_anew():
    patience = Patience("x", Retry(tries=2, first_s=0, most_s=0), _never())
    for _ in range(5):
        patience.pause(Fault("broke"))
        patience.progress(1 << 20)
    patience.pause(Fault("broke"))
    with pytest.raises(StorageError, match="tried 2 times"):
        patience.pause(Fault("broke"))


def test_a_closed_store_waits_for_no_other_try(proxy):
    proxy.faults = ["503"] * 99
    store = ObjectStore.open(proxy.url, Retry(tries=99, first_s=30, most_s=30))
    threading.Timer(0.2, store.close).start()
    started = time.monotonic()
    with pytest.raises(StorageError, match="is not read further: its reader was closed"):
        store.get("a/small.bin")
    assert time.monotonic() - started < 5


def _never():
    return threading.Event()


def test_importing_the_storage_imports_no_client():
    code = "import fusekit.storage.objects, sys; print('obstore' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
