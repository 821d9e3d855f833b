"""What may be done to crops: how it is written, and how it is refused."""

import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusekit.errors import LoaderError
from fusekit.loader.crops.augment import OPERATIONS, Augment

PROBABILITY = "expected a probability from 0 to 1"


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("value", [-0.1, 1.5, math.nan, math.inf, True, "0.5", None, [0.5]])
def test_a_probability_is_a_number_from_0_to_1(name, value):
    message = f"augment.{name}: is {value!r}; {PROBABILITY}"
    with pytest.raises(LoaderError, match=f"^{re.escape(message)}$"):
        Augment.of({name: value})


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("crop_area", "0.01", "1"),
        ("brightness", "0", "2"),
        ("contrast", "0", "2"),
        ("saturation", "0", "2"),
        ("tint", "0", "2"),
        ("blur_sigma", "0.1", "20"),
        ("downscale_side", "0.01", "1"),
        ("cutout_area", "0.001", "1"),
    ],
)
def test_a_range_is_two_numbers_the_lower_first(name, low, high):
    over = float(high) + 0.001
    for value in ((1, 0.5), (-1, 1), (0.5, over), (0.5,), 0.5, "ab", (0.5, "1"), (0.5, math.nan)):
        message = (
            f"augment.{name}: is {value!r}; expected two numbers from {low} to {high}, "
            "the lower first"
        )
        with pytest.raises(LoaderError, match=f"^{re.escape(message)}$"):
            Augment(**{name: value})
    assert getattr(Augment(**{name: (float(low), float(high))}), name) == (float(low), float(high))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop_aspect": 0.5}, "augment.crop_aspect: is 0.5; expected a ratio from 1 to 10"),
        ({"cutout_aspect": 11}, "augment.cutout_aspect: is 11; expected a ratio from 1 to 10"),
        (
            {"jpeg_quality": (30.0, 90)},
            "augment.jpeg_quality: is (30.0, 90); expected two integers from 1 to 100, the lower "
            "first",
        ),
        (
            {"jpeg_quality": (0, 90)},
            "augment.jpeg_quality: is (0, 90); expected two integers from 1 to 100, the lower "
            "first",
        ),
        (
            {"jpeg_quality": 90},
            "augment.jpeg_quality: is 90; expected two integers from 1 to 100, the lower first",
        ),
        (
            {"cutout_fill": 256},
            "augment.cutout_fill: is 256; expected an integer from 0 to 255",
        ),
        (
            {"cutout_fill": 1.0},
            "augment.cutout_fill: is 1.0; expected an integer from 0 to 255",
        ),
        ({"crop_mode": "pad"}, "augment.crop_mode: is 'pad'; expected 'resize' or 'mask'"),
        ({"colour": 0.5}, "augment: unknown field 'colour'; did you mean 'color'?"),
        (
            {"jpg_quality": (1, 2)},
            "augment: unknown field 'jpg_quality'; did you mean 'jpeg_quality'?",
        ),
        ({"zzzz": 0.5}, "augment: unknown field 'zzzz'; known: flip, crop, crop_area, "),
        ({3: 0.5}, "augment: unknown field 3; known: flip, "),
    ],
)  # fmt: skip
def test_a_setting_that_cannot_be_is_named(settings, message):
    with pytest.raises(LoaderError) as error:
        Augment.of(settings)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("value", [True, 0, 0.5, "flips", "", ("flip",)])
def test_what_is_no_setting_is_refused(value):
    expected = "expected None, False, 'none', 'adaface', fields or Augment(…)"
    message = f"augment: is {value!r}; {expected}"
    with pytest.raises(LoaderError, match=f"^{re.escape(message)}$"):
        Augment.of(value)


def test_by_default_only_the_flip_happens():
    assert Augment.of(None) == Augment() == Augment.of({})
    assert Augment().active == ("flip",)
    assert Augment().flip == 0.5


def test_false_and_none_as_text_are_nothing_at_all():
    assert Augment.of(False) == Augment.of("none")
    assert Augment.of("none").active == ()


def test_adaface_is_three_operations_beside_the_flip():
    settings = Augment.of("adaface")
    assert settings.active == ("crop", "flip", "color", "downscale")
    assert (settings.crop, settings.color, settings.downscale) == (0.2, 0.2, 0.2)
    assert settings.crop_area == settings.downscale_side == (0.2, 1.0)
    assert settings.brightness == settings.contrast == settings.saturation == (0.5, 1.5)


def test_settings_stand_for_themselves():
    settings = Augment(jpeg=0.3)
    assert Augment.of(settings) is settings


def test_equal_settings_are_equal_values_however_they_are_written():
    written = Augment.of({"flip": 1, "blur_sigma": [1, 2], "jpeg_quality": [40, 60]})
    assert written == Augment(flip=1.0, blur_sigma=(1.0, 2.0), jpeg_quality=(40, 60))
    assert hash(written) == hash(Augment(flip=1.0, blur_sigma=(1.0, 2.0), jpeg_quality=(40, 60)))


chances = st.floats(0, 1)
gains = st.tuples(st.floats(0, 1), st.floats(1, 2))


@given(
    st.fixed_dictionaries(
        dict.fromkeys(OPERATIONS, chances)
        | {"tint": gains, "contrast": gains, "crop_mode": st.sampled_from(["resize", "mask"])}
    )
)
def test_settings_come_back_from_json(fields):
    settings = Augment.of(fields)
    assert Augment.of(json.loads(json.dumps(settings.as_json()))) == settings
