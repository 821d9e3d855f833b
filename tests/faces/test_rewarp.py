"""The templates of crops, and crops of one brought to another."""

import numpy as np
import pytest
from support.photos import ASTRONAUT

from fusekit.cards.card import CROP_SIZES
from fusekit.faces.align import fit_similarity, warp
from fusekit.faces.embed import chip_matrix
from fusekit.faces.image import decode_image
from fusekit.faces.rewarp import Rewarp
from fusekit.faces.template import ARCFACE_112, template_matrix
from fusekit.models.contract import InputContract

PADDED = [(0, 0), (8, 8), (0, 0)]


def move(matrix, points):
    return np.asarray(points) @ matrix[:, :2].T + matrix[:, 2]


def noise(size, seed=0):
    width, height = size
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_every_template_has_its_matrix():
    for template in CROP_SIZES:
        assert template_matrix(template).shape == (2, 3)
        assert Rewarp.of(template)(noise(CROP_SIZES[template])).shape == (112, 112, 3)
    with pytest.raises(KeyError):
        template_matrix("arcface-128")


def test_a_matrix_that_is_given_out_is_no_one_else_s():
    template_matrix("dlib-150")[:] = 0
    assert template_matrix("dlib-150").any()


def test_the_sphereface_crop_is_the_arcface_crop_without_its_eight_outer_columns():
    points = ARCFACE_112 - [8, 0]
    assert np.allclose(move(template_matrix("sphereface-96x112"), points), ARCFACE_112)
    for seed in range(20):
        crop = noise((96, 112), seed)
        assert np.array_equal(Rewarp.of("sphereface-96x112")(crop), np.pad(crop, PADDED))


def test_an_arcface_crop_is_left_as_it_is():
    crop = noise((112, 112))
    assert np.array_equal(Rewarp.of("arcface-112")(crop), crop)


def test_dlib_s_chip_is_the_square_that_its_network_is_given():
    chip = InputContract(template="dlib-chip-150", size=(150, 150))
    there, back = np.vstack([chip_matrix(chip), [0, 0, 1]]), template_matrix("dlib-150")
    assert np.allclose(np.vstack([back, [0, 0, 1]]) @ there, np.eye(3))


def test_ffhq_s_square_is_that_of_its_script():
    """The lines of download_ffhq.py, on the template's points."""
    left, right, _, *mouth = ARCFACE_112
    eye_to_eye, middle = right - left, (left + right) / 2
    eye_to_mouth = sum(mouth) / 2 - middle
    x = eye_to_eye - np.flipud(eye_to_mouth) * [-1, 1]
    x /= np.hypot(*x)
    x *= max(np.hypot(*eye_to_eye) * 2.0, np.hypot(*eye_to_mouth) * 1.8)
    y, c = np.flipud(x) * [-1, 1], middle + eye_to_mouth * 0.1
    quad = [c - x - y, c - x + y, c + x + y, c + x - y]
    corners = [(0, 0), (0, 1024), (1024, 1024), (1024, 0)]
    assert np.allclose(move(template_matrix("ffhq-1024"), corners), quad)


@pytest.mark.parametrize("template", CROP_SIZES)
def test_a_face_cut_to_a_template_and_brought_back_is_the_arcface_crop(template):
    photo = decode_image(ASTRONAUT.read_bytes(), "photo")
    eyes = np.array([[197.0, 116], [248, 107], [221, 143], [212, 166], [252, 160]])
    to_arcface = np.vstack([fit_similarity(eyes, ARCFACE_112), [0, 0, 1]])
    wanted = warp(photo, to_arcface[:2], (112, 112))
    to_template = np.linalg.inv(np.vstack([template_matrix(template), [0, 0, 1]])) @ to_arcface
    crop = warp(photo, to_template[:2], CROP_SIZES[template])
    found = Rewarp.of(template)(crop)
    inside = slice(10, 102) if template != "dlib-150" else slice(26, 102)
    difference = np.abs(found.astype(int) - wanted)[inside, inside]
    assert difference.mean() < 4
    moved = np.abs(np.roll(found, 1, axis=1).astype(int) - wanted)[inside, inside]
    assert moved.mean() > 2 * difference.mean() or template == "sphereface-96x112"


def test_a_large_crop_is_averaged_not_sampled():
    stripes = np.zeros((1024, 1024, 3), np.uint8)
    stripes[:, ::2] = 255  # a seventh of the pixels alone would show a pattern
    brought = Rewarp.of("ffhq-1024")(stripes)
    assert np.ptp(brought[:, :, 0]) <= 1


def test_the_result_goes_into_the_memory_that_is_given():
    batch = np.full((3, 112, 112, 3), 7, np.uint8)
    crop = noise((96, 112))
    assert Rewarp.of("sphereface-96x112")(crop, batch[1]) is not None
    assert np.array_equal(batch[1], np.pad(crop, PADDED))
    assert (batch[[0, 2]] == 7).all()
