import numpy as np
import pytest

from fusekit.faces.choose import choose_face
from fusekit.faces.detect import Faces
from fusekit.faces.template import ARCFACE_112


def _faces(*boxes):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    marks = [ARCFACE_112 / 112 * (b[2:] - b[:2]) + b[:2] for b in boxes]
    return Faces(boxes, np.full(len(boxes), 0.9, np.float32), np.array(marks, np.float32))


def test_without_a_hint_the_largest_face_is_taken():
    assert choose_face(_faces([0, 0, 60, 60], [100, 0, 200, 100]), (200, 100)) == (1, None)


def test_without_a_hint_a_central_face_beats_a_slightly_larger_one_at_the_edge():
    faces = _faces([0, 0, 62, 62], [170, 170, 230, 230])
    assert choose_face(faces, (400, 400)) == (1, None)


def test_insightfaces_rule_is_area_minus_twice_the_squared_distance():
    faces = _faces([0, 0, 100, 100], [120, 50, 180, 110])
    # areas 10000 and 3600; squared distances from (100, 100): 5000 and 2900
    assert choose_face(faces, (200, 200))[0] == 0  # 0 against -2200
    faces = _faces([0, 0, 100, 100], [120, 60, 180, 140])
    # 10000 - 2·5000 = 0 against 4800 - 2·2500 = -200
    assert choose_face(faces, (200, 200))[0] == 0


def test_a_hint_box_takes_the_face_it_overlaps_most():
    faces = _faces([0, 0, 100, 100], [50, 0, 90, 40])
    chosen, iou = choose_face(faces, (100, 100), np.array([52, 0, 90, 40]))
    assert chosen == 1
    assert iou == pytest.approx(38 / 40)


def test_a_hint_box_that_overlaps_nothing_takes_the_nearest_face():
    faces = _faces([0, 0, 100, 100], [300, 0, 320, 20])
    assert choose_face(faces, (400, 100), np.array([280, 0, 290, 10])) == (1, 0.0)


def test_hint_landmarks_take_the_face_whose_points_are_nearest():
    faces = _faces([0, 0, 112, 112], [5, 5, 60, 60])
    chosen, iou = choose_face(faces, (112, 112), None, faces.landmarks[1] + 1)
    assert chosen == 1
    assert 0.5 < iou < 1
    assert choose_face(faces, (112, 112), None, faces.landmarks[1])[1] == pytest.approx(1)


def test_with_both_hints_landmarks_choose_and_the_box_measures():
    faces = _faces([0, 0, 112, 112], [200, 0, 240, 40])
    chosen, iou = choose_face(faces, (300, 112), np.array([200, 0, 240, 20]), faces.landmarks[1])
    assert (chosen, iou) == (1, pytest.approx(0.5))


def test_among_equals_the_leftmost_is_taken():
    faces = _faces([0, 0, 20, 20], [40, 0, 60, 20])
    assert choose_face(faces, (60, 20))[0] == 0
    assert choose_face(faces, (60, 20), np.array([20, 0, 40, 20]))[0] == 0


def test_no_face_is_no_choice():
    with pytest.raises(ValueError, match="no face to choose from"):
        choose_face(_faces(), (10, 10))
