import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from support.photos import ASTRONAUT, PORTRAIT

from fusekit.faces.image import decode_image
from fusekit.faces.quality import estimate_yaw, eye_distance, measure_crop
from fusekit.faces.template import ARCFACE_112


def _slow(crop):
    """The definition, pixel by pixel, in Python integers."""
    h, w, _ = crop.shape
    grey = [
        [(299 * r + 587 * g + 114 * b + 500) // 1000 for r, g, b in row]
        for row in crop.tolist()
    ]  # fmt: skip
    inner = [
        grey[y - 1][x] + grey[y + 1][x] + grey[y][x - 1] + grey[y][x + 1] - 4 * grey[y][x]
        for y in range(1, h - 1)
        for x in range(1, w - 1)
    ]
    n = len(inner)
    sharpness = (n * sum(v * v for v in inner) - sum(inner) ** 2) / n**2
    return sharpness, sum(map(sum, grey)) / (h * w)


@given(arrays(np.uint8, st.tuples(st.integers(3, 9), st.integers(3, 9), st.just(3))))
def test_figures_are_the_integer_definition_exactly(crop):
    quality = measure_crop(crop)
    assert (quality.sharpness, quality.brightness) == _slow(crop)


def test_the_extremes_do_not_overflow():
    board = np.indices((112, 112)).sum(axis=0) % 2 * np.uint8(255)
    quality = measure_crop(np.repeat(board[..., None], 3, axis=2).astype(np.uint8))
    assert quality.sharpness == 1020.0**2
    assert quality.brightness == 127.5


def test_a_blurred_crop_is_less_sharp():
    crop = decode_image(PORTRAIT.read_bytes(), "x")
    blurred = (crop[:-1, :-1] // 2 + crop[1:, 1:] // 2).astype(np.uint8)
    assert measure_crop(blurred).sharpness < measure_crop(crop).sharpness


def test_grey_is_told_from_colour_even_after_jpegs_rounding():
    image = decode_image(ASTRONAUT.read_bytes(), "x")
    grey = np.repeat(image.mean(axis=2).astype(np.int64)[..., None], 3, axis=2)
    noisy = np.clip(grey + np.random.default_rng(0).integers(-1, 2, grey.shape), 0, 255)
    assert measure_crop(image).channels == 3
    assert measure_crop(noisy.astype(np.uint8)).channels == 1


def test_eye_distance_is_that_of_the_template():
    assert eye_distance(ARCFACE_112) == pytest.approx(35.2377, abs=1e-3)


def _project(yaw_deg, pitch_deg=0.0, roll_deg=0.0):
    """See a head of the formula's proportions from the front: eyes 2 apart, nose 1 before them."""
    y, p, r = np.radians([yaw_deg, pitch_deg, roll_deg])
    head = np.array([[-1, 0, 0], [1, 0, 0], [0, 0.6, 1], [-0.8, 1.9, 0.3], [0.8, 1.9, 0.3]])
    turn_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    turn_p = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    turn_r = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return (head @ turn_y.T @ turn_p.T @ turn_r.T)[:, :2]


@pytest.mark.parametrize("yaw", [-80, -45, -10, 0, 10, 45, 80])
@pytest.mark.parametrize("roll", [-90, 0, 30, 170])
def test_yaw_is_recovered_whatever_the_roll(yaw, roll):
    assert estimate_yaw(_project(yaw, roll_deg=roll) * 40 + 100) == pytest.approx(yaw, abs=1e-6)


def test_yaw_is_positive_towards_the_images_right():
    points = ARCFACE_112.copy()
    points[2, 0] += 10
    assert estimate_yaw(points) > 20
    assert abs(estimate_yaw(ARCFACE_112)) < 1


def test_coinciding_eyes_have_no_yaw():
    assert estimate_yaw(np.zeros((5, 2))) == 0.0
