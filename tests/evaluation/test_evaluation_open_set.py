import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusekit.errors import UsageError
from fusekit.evaluation import open_set
from fusekit.evaluation.open_set import activation_table, centre_distance, max_activations


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.sampled_from([1.0, 16.0, 64.0]))
def test_activations_are_the_largest_of_a_slow_softmax(seed, classes, scale):
    rng = np.random.default_rng(seed)
    vectors, weight = rng.normal(size=(7, 6)), rng.normal(size=(classes, 6))
    cosines = (vectors / np.linalg.norm(vectors, axis=1)[:, None]) @ (
        weight / np.linalg.norm(weight, axis=1)[:, None]
    ).T
    soft = np.exp(scale * (cosines - cosines.max(axis=1, keepdims=True)))
    expected = (soft / soft.sum(axis=1, keepdims=True)).max(axis=1)
    found = max_activations(vectors.astype(np.float32), weight.astype(np.float32), scale)
    assert np.allclose(found, expected, rtol=1e-4)


def test_blocks_of_classes_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    vectors, weight = rng.normal(size=(2, 600, 8)).astype(np.float32)
    whole = max_activations(vectors, weight, 64.0)
    monkeypatch.setattr(open_set, "_CLASSES", 7)
    monkeypatch.setattr(open_set, "_ROWS", 11)
    assert np.allclose(max_activations(vectors, weight, 64.0), whole, rtol=1e-5)


@given(st.integers(0, 2**32 - 1), st.integers(2, 20))
def test_the_distance_of_centres_is_the_mean_over_all_pairs(seed, classes):
    weight = np.random.default_rng(seed).normal(size=(classes, 4)) + 0.3
    unit = weight / np.linalg.norm(weight, axis=1, keepdims=True)
    slow = [1 - unit[i] @ unit[j] for i in range(classes) for j in range(i)]
    assert centre_distance(weight.astype(np.float32)) == pytest.approx(np.mean(slow), abs=1e-6)


def test_the_table_counts_strictly_below_each_tenth():
    table = activation_table(np.array([0.1, 0.1, 0.5, 0.9, 0.95]))
    assert table["samples"] == 5
    assert [table["below"][e] for e in ("0.1", "0.2", "0.5", "0.6", "0.9")] == [
        0,
        0.4,
        0.4,
        0.6,
        0.6,
    ]
    assert table["mean"] == pytest.approx(0.51)
    assert activation_table(np.empty(0))["mean"] is None


def test_one_centre_has_no_distance():
    with pytest.raises(UsageError, match="--head: has 1 centres; expected two or more"):
        centre_distance(np.ones((1, 3), np.float32))
