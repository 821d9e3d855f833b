import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusekit.fingerprint import canonical_json, file_sha256, fingerprint, first_difference

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_the_order_of_keys_does_not_change_a_fingerprint(value):
    backwards = dict(reversed(value.items()))
    assert fingerprint(value) == fingerprint(backwards)


@given(JSON, JSON)
def test_a_first_difference_is_named_exactly_when_values_differ(a, b):
    assert (first_difference({"x": a}, {"x": b}) is None) == (a == b)


def test_the_first_difference_gives_the_path_and_both_values():
    old, new = {"settings": {"format": "png"}}, {"settings": {"format": "jpg"}}
    assert first_difference(old, new) == "settings.format: 'jpg', was 'png'"
    assert first_difference({}, {"a": 1}) == "a: 1, was not set"
    assert first_difference({"a": 1}, {}) == "a: not set, was 1"


def test_a_float_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))


def test_a_files_digest_is_that_of_its_bytes(tmp_path):
    data = bytes(range(256)) * 9000
    (tmp_path / "a").write_bytes(data)
    assert file_sha256(tmp_path / "a") == hashlib.sha256(data).hexdigest()
