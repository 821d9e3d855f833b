"""The whole protocol of LFW on real crops, by a real model."""

import json

import pytest
import torch
from typer.testing import CliRunner

from fusekit import evaluate
from fusekit.cli.main import app

pytestmark = [pytest.mark.shared, pytest.mark.slow]

MODEL = "models/mobilefacenet_128d.onnx"


def test_lfw_gives_the_accuracy_that_was_measured_before_this_was_written(shared, real_store):
    words = ["evaluate", str(shared / MODEL), "--on", "lfw", "--json", "--store", str(real_store)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    about = json.loads(result.stdout)
    assert list(about) == ["lfw"]
    lfw = about["lfw"]
    assert 100 * lfw["accuracy"] == pytest.approx(99.33, abs=0.05)
    assert (lfw["pairs"], lfw["genuine"], lfw["missing"], len(lfw["folds"])) == (6000, 3000, 0, 10)
    assert 100 * lfw["std"] == pytest.approx(0.33, abs=0.05)
    assert lfw["stderr"] == pytest.approx(lfw["std"] / 10**0.5)
    assert 100 * lfw["tar"]["0.001"] == pytest.approx(98.43, abs=0.2)
    assert lfw["tar"]["0.0001"] is None  # 3,000 impostor pairs do not hold a third of one
    assert lfw["few"] == ["0.001", "0.0001", "1e-05", "1e-06"]


def test_a_threshold_of_pairs_names_nearly_every_stranger_of_a_large_gallery(shared, real_store):
    """What --gallery says beforehand: at FAR 0.001, 7,700 images let nearly everybody in."""
    result = evaluate(
        str(shared / MODEL), on=["lfw"], neighbours=1, gallery=7_700, fars=[1e-3], store=real_store
    )
    about = result.as_json()["lfw"]
    found = about["neighbours"]
    assert (found["mated"], found["strangers"]) == (4979, 2722)
    assert found["rank"]["1"] > 0.97
    assert found["open"]["0.001"]["named"] > 0.98
    assert about["gallery"]["far"]["0.001"]["search"]["chance"] > 0.99


def test_a_module_that_averages_pixels_knows_little_of_faces(real_store):
    module = torch.nn.Sequential(torch.nn.AvgPool2d(16), torch.nn.Flatten())
    result = evaluate(module, on=["lfw"], fars=[0.1], store=real_store)
    accuracy = result.as_json()["lfw"]["accuracy"]
    assert 0.55 < accuracy < 0.8
