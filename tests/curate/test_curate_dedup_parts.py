"""What finding copies is made of: groups, laying pictures over each other, the quality's grade."""

import cv2
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.stores import draw_crop, make_dataset

from fusekit.curate.copy_groups import Components, make_groups
from fusekit.curate.crop_quality import QUALITY_COLUMNS, quality
from fusekit.curate.numbered_rows import CropReader, NumberedRows
from fusekit.curate.registration import lay_over
from fusekit.errors import StoreError
from fusekit.store import layout
from fusekit.store.layout import open_store

TYPES = {"jpeg_quality": pa.int16(), "channels": pa.int8()}
ROW = {
    "eye_distance": 40.0, "sharpness": 500.0, "jpeg_quality": 90, "det_score": 0.9,
    "brightness": 120.0, "channels": 3,
}  # fmt: skip


def grade(**changes):
    row = ROW | changes
    table = pa.table({n: pa.array([row[n]], TYPES.get(n, pa.float32())) for n in QUALITY_COLUMNS})
    return float(quality(table)[0])


def groups(exact, near, copies=()):
    """Rows are ranked by their number; ``copies`` are further pairs that a check accepts."""
    asked = {frozenset(pair) for pair in copies}
    made = make_groups(exact, near, int, lambda a, b: frozenset((a, b)) in asked)
    return [group.classes for group in made]


def test_a_chain_is_cut_around_its_best_copy():
    assert groups([], [(0, 1), (1, 2), (2, 3)]) == [((0,), (1,)), ((2,), (3,))]
    assert groups([], [(0, 1), (1, 2), (2, 3)], [(0, 2)]) == [((0,), (1,), (2,))]


def test_equal_bytes_stay_together_and_are_led_by_the_best():
    assert groups([[5, 3], [7, 9]], [(5, 7)]) == [((3, 5), (7, 9))]
    assert groups([[5, 3], [7, 9]], []) == [((3, 5),), ((7, 9),)]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=40))
def test_components_are_those_that_paths_reach(pairs):
    parts = Components()
    reach = {n: {n} for pair in pairs for n in pair}
    for a, b in pairs:
        parts.add(a, b)
        joined = reach[a] | reach[b]
        for node in joined:
            reach[node] = joined
    assert parts.members() == sorted(sorted(r) for r in {frozenset(r) for r in reach.values()})


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=30),
    st.sets(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=30),
)
def test_every_member_of_a_group_is_a_copy_of_its_best_and_no_row_is_in_two(near, copies):
    near = [pair for pair in near if pair[0] != pair[1]]
    made = groups([], near, copies)
    accepted = {frozenset(pair) for pair in [*near, *copies]}
    for (best,), *others in made:
        assert all(best < other and frozenset((best, other)) in accepted for (other,) in others)
    members = [row for classes in made for rows in classes for row in rows]
    assert len(members) == len(set(members))


def test_a_stretched_copy_lies_on_its_picture_and_its_stretch_is_told():
    crop = draw_crop(1)
    matrix = np.array([[1.06, 0, -3.4], [0, 0.96, 2.2]])
    laid = lay_over(crop, cv2.warpAffine(crop, matrix, (112, 112)))
    assert laid.correlation > 0.99
    assert laid.stretch == pytest.approx(1.06 / 0.96, abs=0.01)
    assert lay_over(crop, draw_crop(2)).correlation < 0.9


def test_a_flat_picture_lies_on_nothing():
    assert lay_over(draw_crop(1), np.full((112, 112, 3), 90, np.uint8)).correlation == -1


@pytest.mark.parametrize(
    "worse",
    [
        {"eye_distance": 20.0}, {"sharpness": 50.0}, {"jpeg_quality": 30}, {"det_score": 0.5},
        {"brightness": 10.0}, {"brightness": 250.0}, {"channels": 1},
    ],
)  # fmt: skip
def test_what_training_loses_by_lowers_the_grade(worse):
    assert 0 <= grade(**worse) < grade() <= 1


def test_the_grade_is_the_documented_mean():
    e, s = 40 / (40 + 35.2372), 500 / 700
    expected = e**0.3 * s**0.3 * 0.9**0.2 * 0.9**0.1
    assert grade() == pytest.approx(expected, abs=1e-4)


def test_what_is_not_known_counts_as_stated():
    assert grade(jpeg_quality=None) == grade(jpeg_quality=100)
    assert grade(det_score=None) == grade(det_score=1.0)
    assert grade(eye_distance=None) == grade(eye_distance=35.2372)


def test_rows_are_numbered_through_the_datasets_and_read_by_number(tmp_path):
    storage = open_store(tmp_path, create=True)
    infos = [make_dataset(storage, name, {"a": 5}, unit_size=2) for name in ("d", "e")]
    numbered = NumberedRows.of(storage, infos)
    assert numbered.first_rows == (0, 5, 10)
    assert numbered.take(np.array([4, 5]), ["dataset"]).to_pylist() == [
        {"dataset": "d"}, {"dataset": "e"}
    ]  # fmt: skip
    crops = CropReader(numbered, np.array([2, 7]))
    assert np.array_equal(crops(2), crops(7))  # both sets draw the same pictures
    with pytest.raises(KeyError):
        crops(3)


def test_a_crop_that_is_damaged_or_gone_is_named(tmp_path):
    storage = open_store(tmp_path, create=True)
    numbered = NumberedRows.of(storage, [make_dataset(storage, "d", {"a": 2})])
    crops = CropReader(numbered, np.array([0]))
    shard = storage.path(layout.shard("d", 0))
    shard.write_bytes(shard.read_bytes().replace(b"\xff\xd8", b"\x00\x00"))
    with pytest.raises(StoreError, match=r"d-000000\.tar: \w+: is not the crop that the manifest"):
        crops(0)
    shard.unlink()
    with pytest.raises(StoreError, match=r"d-000000\.tar: is missing; fusekit verify d"):
        crops(0)


def test_a_crop_that_does_not_decode_is_named(tmp_path):
    storage = open_store(tmp_path, create=True)
    info = make_dataset(storage, "d", {"a": 1}, images=[b"no crop"])
    crops = CropReader(NumberedRows.of(storage, [info]), np.array([0]))
    with pytest.raises(StoreError, match=r"does not decode \(.*\); expected a jpg crop"):
        crops(0)
