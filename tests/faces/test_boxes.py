import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fusekit.faces.boxes import areas, overlaps, suppress

_box = st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(1, 20), st.integers(1, 20))


def _pixels(box):
    x0, y0, x1, y1 = (int(v) for v in box)
    return {(x, y) for x in range(x0, x1) for y in range(y0, y1)}


def _corners(boxes):
    return np.array([[x, y, x + w, y + h] for x, y, w, h in boxes], np.float64)


@given(st.lists(_box, min_size=1, max_size=6))
def test_overlap_is_shared_pixels_over_all_pixels(boxes):
    corners = _corners(boxes)
    first = _pixels(corners[0])
    expected = [len(first & _pixels(b)) / len(first | _pixels(b)) for b in corners]
    np.testing.assert_allclose(overlaps(corners, corners[0]), expected)
    assert areas(corners).tolist() == [len(_pixels(b)) for b in corners]


def test_a_box_turned_inside_out_has_no_area():
    assert areas(np.array([[5, 5, 1, 9]])).tolist() == [0.0]
    assert overlaps(np.zeros((1, 4)), np.zeros(4)).tolist() == [0.0]


@given(st.lists(st.tuples(_box, st.integers(0, 3)), max_size=8))
def test_suppression_keeps_the_best_and_no_two_that_overlap(drawn):
    boxes = _corners([box for box, _ in drawn]).reshape(-1, 4)
    scores = np.array([score for _, score in drawn], np.float32)
    kept = suppress(boxes, scores, 0.4).tolist()
    expected = []  # the slow obvious way
    for i in sorted(range(len(drawn)), key=lambda i: (-scores[i], i)):
        if all(overlaps(boxes[[j]], boxes[i])[0] <= 0.4 for j in expected):
            expected.append(i)
    assert kept == expected
