import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusekit.errors import StoreError, UsageError
from fusekit.store.layout import check_name, open_store, sample_key


@given(st.text(min_size=1), st.integers(0, 99))
def test_a_key_is_a_safe_tar_stem_and_follows_from_its_source(source, face):
    key = sample_key(source, face)
    assert key == sample_key(source, face)
    assert len(key) == 19
    assert set(key) <= set("abcdefghijklmnopqrstuvwxyz234567_0189")


def test_keys_of_one_item_differ_by_the_face_number_alone():
    assert sample_key("a.jpg", 0)[:16] == sample_key("a.jpg", 12)[:16]
    assert sample_key("a.jpg", 12).endswith("_12")


@pytest.mark.parametrize("name", ["", "A", "a_b", "a/b", "x" * 65, "é"])
def test_a_name_that_cannot_be_is_refused(name):
    with pytest.raises(UsageError, match="can't name a dataset; expected 1 to 64 of a-z"):
        check_name(name, "dataset")


def test_a_store_is_made_once_and_opened_again(tmp_path):
    open_store(tmp_path / "s", create=True)
    before = (tmp_path / "s/store.json").read_bytes()
    open_store(tmp_path / "s", create=True)
    assert (tmp_path / "s/store.json").read_bytes() == before == b'{"format_version":2}\n'


def test_the_default_store_comes_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("FUSEKIT_STORE", str(tmp_path / "s"))
    assert open_store(None, create=True).root == tmp_path / "s"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (json.dumps({"format_version": 99}), "has store format 99; expected at most 2; update"),
        (
            json.dumps({"format_version": 1}),
            "has store format 1; expected 2; it was made by an older fusekit; ingest into a new",
        ),
        ("{", "store.json is damaged"),
        ("[]", "store.json is damaged"),
    ],
)
def test_a_store_this_release_cannot_read_is_refused(tmp_path, content, message):
    (tmp_path / "store.json").write_text(content)
    with pytest.raises(StoreError, match=message):
        open_store(tmp_path)


def test_a_folder_without_a_store_is_refused(tmp_path):
    with pytest.raises(StoreError, match="is no fusekit store; fusekit ingest DATASET --from RAW"):
        open_store(tmp_path / "none")
    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(StoreError, match="is a folder of something else"):
        open_store(tmp_path, create=True)
