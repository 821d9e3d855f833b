import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusekit.errors import AlignmentError
from fusekit.faces.align import align_face, fit_similarity, warp
from fusekit.faces.template import ARCFACE_112

_coordinate = st.floats(-500, 500)


def _similarity(scale, angle, x, y):
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[c, -s, x], [s, c, y]])


def _apply(matrix, points):
    return points @ matrix[:, :2].T + matrix[:, 2]


@given(st.floats(0.05, 20), st.floats(-3.1, 3.1), _coordinate, _coordinate)
def test_a_similarity_is_recovered_from_the_points_it_moved(scale, angle, x, y):
    matrix = _similarity(scale, angle, x, y)
    np.testing.assert_allclose(
        fit_similarity(ARCFACE_112, _apply(matrix, ARCFACE_112)), matrix, atol=1e-9, rtol=1e-9
    )


def _umeyama(source, target):
    """Section 12.2 of the layouts, by singular values: the slow obvious reference."""
    s, t = source - source.mean(axis=0), target - target.mean(axis=0)
    u, d, vt = np.linalg.svd(t.T @ s / len(s))
    sign = np.array([1, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ np.diag(sign) @ vt
    scale = (d * sign).sum() / s.var(axis=0).sum()
    shift = target.mean(axis=0) - scale * rotation @ source.mean(axis=0)
    return np.column_stack([scale * rotation, shift])


@given(st.lists(st.tuples(_coordinate, _coordinate), min_size=5, max_size=5))
def test_the_fit_is_umeyamas_without_reflection(points):
    source = np.array(points) + ARCFACE_112 * 10  # never all in one place
    if np.linalg.matrix_rank((source - source.mean(axis=0)), tol=1e-3) < 2:
        return
    found, expected = fit_similarity(source, ARCFACE_112), _umeyama(source, ARCFACE_112)
    if np.hypot(*found[:, 0]) < 1e-3:  # nearly a point: the angle hangs on rounding
        return
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_mirrored_face_is_never_mirrored_back():
    mirrored = ARCFACE_112 * [-1, 1]
    matrix = fit_similarity(mirrored, ARCFACE_112)
    assert np.linalg.det(matrix[:, :2]) > 0


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros((5, 2)), "fit_similarity: all source points coincide"),
        (np.full((5, 2), np.nan), "fit_similarity: a coordinate is not finite"),
        (np.zeros((4, 2)), r"source has shape \(4, 2\) and target \(5, 2\); expected two arrays"),
    ],
)
def test_landmarks_that_fit_nothing_are_refused(source, message):
    with pytest.raises(AlignmentError, match=message):
        fit_similarity(source, ARCFACE_112)


def test_a_face_already_on_the_template_is_cut_out_unchanged():
    image = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)
    assert np.array_equal(align_face(image, ARCFACE_112), image)


def test_a_face_is_moved_onto_the_template_and_black_stands_outside():
    image = np.zeros((300, 400, 3), np.uint8)
    points = ARCFACE_112 * 2 + [100, 50]
    for x, y in points.round().astype(int):
        image[y - 2 : y + 3, x - 2 : x + 3] = 255
    crop = align_face(image, points)
    assert crop.shape == (112, 112, 3)
    for x, y in ARCFACE_112.round().astype(int):
        assert crop[y, x].min() > 200
    outside = align_face(np.full((40, 40, 3), 200, np.uint8), ARCFACE_112)
    assert outside[60:, :].max() == 0


def test_a_larger_crop_shows_the_same_part_of_the_face():
    image = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)
    double = align_face(image, ARCFACE_112, size=224)
    assert double.shape == (224, 224, 3)
    assert np.array_equal(double[::2, ::2], image)


def test_warp_takes_its_size_as_width_and_height():
    moved = warp(np.zeros((5, 5, 3), np.uint8), np.eye(3)[:2], (7, 9))
    assert moved.shape == (9, 7, 3)
