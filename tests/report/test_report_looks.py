import dataclasses

import cv2
import numpy as np
import pytest
from support.stores import make_dataset

from fusekit.errors import ModelError
from fusekit.faces.detect import Faces
from fusekit.faces.image import encode_crop
from fusekit.faces.template import ARCFACE_112
from fusekit.report import looks
from fusekit.report.looks import collect_looks, measure_landmarks
from fusekit.report.stats import collect_stats
from fusekit.store.crops import sample_crops
from fusekit.store.datasets import list_datasets, open_dataset
from fusekit.store.layout import open_store


class Placed:
    """A detector that finds landmarks moved from where a usual one does, and none in dark crops."""

    def __init__(self, move):
        self._move = move

    def detect(self, image):
        if image.mean() < 40:
            return Faces(np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5, 2)))
        centre = ARCFACE_112.mean(axis=0)
        # What a usual detector finds: 0.95 of the template's size and 0.9 of its height.
        usual = (ARCFACE_112 - centre) * [0.95 * 1.03, 0.95 * 1.03 * 0.9] + centre
        points = self._move(usual)[None]
        return Faces(np.array([[0.0, 0, 112, 112]]), np.ones(1), points)


@pytest.fixture
def storage(tmp_path):
    return open_store(tmp_path / "store", create=True)


def measured(storage, move, name="people"):
    return measure_landmarks(storage, open_dataset(storage, name), Placed(move))


def test_crops_on_the_template_have_nothing_to_report(storage):
    make_dataset(storage, "people", {"ann": 60})
    found = measured(storage, lambda points: points)
    assert (found.crops, found.faces) == (60, 60)
    assert abs(found.shift_x) < 0.01
    assert abs(found.shift_y) < 0.01
    assert found.stretch == pytest.approx(1, abs=0.005)
    assert found.off_template is None


@pytest.mark.parametrize(
    ("move", "words"),
    [
        (lambda p: p + np.array([4, 3]), "5.0 px beside the template"),
        (lambda p: (p - 56) * 0.9 + 56, "faces 0.87 of the usual size"),
        (lambda p: p * [1, 1.2], "faces stretched to 1.20 of the usual height"),
    ],
)
def test_a_shift_a_size_and_a_stretch_are_said(storage, move, words):
    make_dataset(storage, "people", {"ann": 60})
    assert words in measured(storage, move).off_template


def test_too_few_faces_say_nothing(storage):
    dark = encode_crop(np.zeros((112, 112, 3), np.uint8), "png")
    light = encode_crop(np.full((112, 112, 3), 200, np.uint8), "png")
    make_dataset(storage, "dim", {"ann": 40}, images=[dark] * 30 + [light] * 10, fmt="png")
    make_dataset(storage, "lit", {"ann": 40}, images=[dark] * 15 + [light] * 25, fmt="png")
    assert measured(storage, lambda p: p, "dim") is None
    assert measured(storage, lambda p: p, "lit").faces == 25


def test_what_a_dataset_alone_has_is_said(storage, monkeypatch):
    for name in ("a", "b", "c"):
        make_dataset(storage, name, {"ann": 30})
    monkeypatch.setattr(looks, "_detector", lambda report: None)
    infos = list_datasets(storage)
    infos[1] = dataclasses.replace(infos[1], colours={"swapped": True})
    stats = [collect_stats(info.name, storage.root) for info in infos]
    spreads = tuple(
        dataclasses.replace(s, quantiles=(s.median * 3 - (s.name != "sharpness") * 200,) * 7)
        if s.name in ("sharpness", "jpeg_quality", "brightness")
        else s
        for s in stats[2].spreads
    )
    counts = stats[2].counts | {"channels": {"grey": 12, "colour": 18}}
    stats[2] = dataclasses.replace(stats[2], spreads=spreads, counts=counts)
    first, second, third = collect_looks(storage, infos, stats)
    assert first.alone == ()
    assert second.alone == ("red and blue look swapped",)
    assert third.alone == (
        "40% grey, the next 0%", "JPEG quality 85, the next 95", "sharper: 300, the next 100",
        "brighter: 184, the next 128",
    )  # fmt: skip
    assert first.as_json()["landmarks"] is None


def test_without_a_detector_the_rest_is_measured(storage, monkeypatch):
    def lacking(*_):
        raise ModelError("retinaface-mnet025", "is not here")

    monkeypatch.setattr(looks, "resolve_model", lacking)
    make_dataset(storage, "people", {"ann": 30})
    info = open_dataset(storage, "people")
    (found,) = collect_looks(storage, [info], [collect_stats("people", storage.root)])
    assert (found.landmarks, found.sharpness) == (None, 100.0)


def test_a_blurred_set_is_said_to_be_blurred():
    assert looks._difference("sharpness", 40.0, 100.0) == "more blurred: 40, the next 100"
    assert looks._difference("sharpness", 60.0, 100.0) == ""
    assert looks._difference("brightness", 60.0, 100.0) == "darker: 60, the next 100"


def moved(crop, matrix):
    return cv2.warpAffine(crop, np.float32(matrix), (112, 112), borderMode=cv2.BORDER_REPLICATE)


@pytest.mark.shared
def test_real_sets_lie_on_the_template_and_moved_ones_do_not(real_store, tmp_path):
    real = open_store(real_store)
    crops = list(sample_crops(real, open_dataset(real, "pins"), 40).values())
    storage = open_store(tmp_path / "store", create=True)
    changes = {
        "as-is": [[1, 0, 0], [0, 1, 0]],
        "shifted": [[1, 0, 5], [0, 1, 2]],
        "stretched": [[1, 0, 0], [0, 1.25, -16]],
        "smaller": [[0.85, 0, 8.4], [0, 0.85, 8.4]],
    }
    for name, matrix in changes.items():
        images = [encode_crop(moved(crop, matrix), "png") for crop in crops]
        make_dataset(storage, name, {"ann": len(images)}, images=images, fmt="png")
    detector = looks._detector(lambda progress: None)
    assert detector is not None
    found = {n: measure_landmarks(storage, open_dataset(storage, n), detector) for n in changes}
    assert found["as-is"].off_template is None
    assert found["shifted"].shift_x - found["as-is"].shift_x == pytest.approx(5, abs=1)
    assert "beside the template" in found["shifted"].off_template
    assert "stretched" in found["stretched"].off_template
    assert "of the usual size" in found["smaller"].off_template
    for info in list_datasets(real):
        measured = measure_landmarks(real, info, detector, crops=40)
        assert measured.off_template is None, info.name
