"""The cumulative table of activations, against counting one by one."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from fusekit.curate.histogram import EDGES, make_histograms


def table(rows):
    return pa.table({
        "activation": pa.array([a for a, _ in rows], pa.float32()),
        "nearest_dataset": pa.array([d for _, d in rows], pa.string()),
    })  # fmt: skip


@given(st.lists(st.tuples(st.floats(0, 1, width=32), st.sampled_from("ab")), max_size=40))
def test_each_share_is_that_of_counting_one_by_one(rows):
    lines = make_histograms(table(rows), ("a", "b", "c"))
    assert [line.dataset for line in lines] == [None, "a", "b", "c"]
    for line in lines:
        mine = [a for a, d in rows if line.dataset in (None, d)]
        assert line.samples == len(mine)
        for edge, share in zip(EDGES, line.below, strict=True):
            assert share == (round(sum(a < edge for a in mine) / len(mine), 6) if mine else 0)
        assert list(line.below) == sorted(line.below)
        assert np.isclose(line.below[-1] + line.rest, 1, atol=2e-6) or not mine


def test_the_json_names_the_papers_columns():
    (line, _) = make_histograms(table([(0.05, "a"), (0.95, "a")]), ("a",))
    said = line.as_json()
    assert list(said["below"]) == [f"0.{i}" for i in range(1, 10)]
    assert (said["dataset"], said["samples"], said["rest"]) == (None, 2, 0.5)


def test_an_activation_of_float32_0_9_is_compared_as_it_is_stored():
    # float32(0.9) lies under 0.9, so it is below the edge and not dropped by the threshold.
    assert make_histograms(table([(np.float32(0.9), "a")]), ())[0].rest == 0
