import multiprocessing
import pickle
import sys
from dataclasses import replace

import numpy as np
import pytest
from support.onnx_models import constant_model, mean_colour_embedder
from support.photos import PORTRAIT
from support.verification import read_pairs, verify

from fusekit.errors import MissingExtraError, ModelError
from fusekit.faces.embed import chip_matrix, open_embedder
from fusekit.faces.image import decode_image
from fusekit.faces.template import ARCFACE_112
from fusekit.models.contract import InputContract
from fusekit.models.registry import resolve_model


def _open(path):
    return open_embedder(resolve_model(str(path), "embed"))


def _flat(red, green, blue, count=1):
    return np.tile(np.array([red, green, blue], np.uint8), (count, 112, 112, 1))


def test_pixels_are_red_first_less_the_mean_over_the_scale(tmp_path):
    embedder = _open(mean_colour_embedder(tmp_path / "m.onnx"))
    assert embedder.dim == 3
    vectors = embedder.embed(np.concatenate([_flat(255, 0, 127), _flat(0, 255, 128)]))
    expected = [[1, -1, -0.5 / 127.5], [-1, 1, 0.5 / 127.5]]
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    assert vectors.dtype == np.float32


def test_channels_may_come_last(tmp_path):
    embedder = _open(mean_colour_embedder(tmp_path / "m.onnx", (1, 112, 112, 3)))
    np.testing.assert_allclose(embedder.embed(_flat(255, 0, 255)), [[1, -1, 1]], atol=1e-5)


def test_a_model_that_normalises_by_itself_gets_plain_pixels(tmp_path):
    path = mean_colour_embedder(tmp_path / "m.onnx", names=("_minusscalar0", "_mulscalar0"))
    np.testing.assert_allclose(_open(path).embed(_flat(10, 20, 30)), [[10, 20, 30]], rtol=1e-5)


def test_a_sidecar_overrules_the_contract(tmp_path):
    path = mean_colour_embedder(tmp_path / "m.onnx")
    plain = resolve_model(str(path), "embed")
    (tmp_path / "m.onnx.yaml").write_text("colour: bgr\nmean: 0\nscale: 255\n")
    vectors = _open(path).embed(_flat(255, 0, 51))
    np.testing.assert_allclose(vectors, [[0.2, 0, 1]], atol=1e-5)
    assert resolve_model(str(path), "embed").sha256 != plain.sha256


def test_a_larger_input_shows_the_same_face_larger(tmp_path):
    contract = InputContract(size=(128, 128))
    corners = chip_matrix(contract)[:, :2] @ [112, 112]
    assert corners.tolist() == [128, 128]
    embedder = _open(mean_colour_embedder(tmp_path / "m.onnx", (1, 3, 128, 128)))
    assert embedder.embed(_flat(200, 200, 200)).shape == (1, 3)


DLIB_INPUT = InputContract(template="dlib-chip-150", size=(150, 150), mean=0, scale=1)


def test_dlibs_chip_has_the_eyes_near_where_dlibs_mean_shape_has_them():
    matrix = chip_matrix(DLIB_INPUT)
    eyes = ARCFACE_112[:2] @ matrix[:, :2].T + matrix[:, 2]
    # Mean of an eye's two corners in the five-point mean shape, (0.25 + p) / 1.5 * 150.
    assert np.abs(eyes - [[47.733, 47.140], [100.281, 47.123]]).max() < 3


def test_dlibs_chip_is_a_closer_view_than_a_stretched_crop():
    assert chip_matrix(DLIB_INPUT)[0, 0] > 1.1 * 150 / 112


def test_vectors_do_not_depend_on_the_company_they_are_in(tmp_path):
    embedder = _open(mean_colour_embedder(tmp_path / "m.onnx"))
    crops = np.random.default_rng(0).integers(0, 256, (5, 112, 112, 3), np.uint8)
    alone = np.concatenate([embedder.embed(crop[None]) for crop in crops])
    assert np.array_equal(embedder.embed(crops), alone)


def test_no_crops_give_no_vectors(tmp_path):
    embedder = _open(mean_colour_embedder(tmp_path / "m.onnx"))
    assert embedder.embed(np.zeros((0, 112, 112, 3), np.uint8)).shape == (0, 3)


def test_a_length_the_file_does_not_state_is_found_by_running_it(tmp_path):
    path = constant_model(tmp_path / "m.onnx", [("out", np.ones((1, 7)))], declared=False)
    model = resolve_model(str(path), "embed")
    assert model.contract.dim is None
    assert open_embedder(model).dim == 7


def test_a_stated_length_that_is_not_the_models_is_refused(tmp_path):
    path = constant_model(tmp_path / "m.onnx", [("out", np.ones((1, 7)))])
    (tmp_path / "m.onnx.yaml").write_text("dim: 8\n")
    with pytest.raises(ModelError, match=r"m\.onnx: gives 7 numbers a face; expected 8"):
        _open(path).embed(_flat(1, 2, 3))


def test_a_fixed_batch_is_refused(tmp_path):
    path = mean_colour_embedder(tmp_path / "m.onnx", (4, 3, 112, 112))
    with pytest.raises(ModelError, match="takes batches of exactly 4; expected 1, or any"):
        _open(path)


def test_a_detector_can_not_embed(tmp_path):
    arrays = [("a", np.zeros((1, 9, 4))), ("b", np.zeros((1, 9, 2))), ("c", np.zeros((1, 9, 10)))]
    model = resolve_model(str(constant_model(tmp_path / "m.onnx", arrays)), "detect")
    with pytest.raises(ModelError, match="is for the task detect; expected a model that can embed"):
        open_embedder(model)


@pytest.fixture(scope="module")
def dlib_model():
    return resolve_model("dlib-resnet-v1", "embed")


@pytest.mark.network
def test_dlib_gives_128_numbers_of_unit_size(dlib_model):
    crop = decode_image(PORTRAIT.read_bytes(), "x")
    vectors = open_embedder(dlib_model).embed(np.stack([crop, crop]))
    assert vectors.shape == (2, 128)
    assert np.array_equal(vectors[0], vectors[1])
    assert 1 < np.linalg.norm(vectors[0]) < 2


@pytest.mark.network
def test_without_dlib_the_install_line_is_given(dlib_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'fusekit\[dlib\]'"):
        open_embedder(dlib_model)


@pytest.mark.network
def test_damaged_dlib_weights_are_one_line(dlib_model, tmp_path):
    path = tmp_path / "broken.dat"
    path.write_bytes(b"not weights")
    with pytest.raises(ModelError, match=r"broken\.dat: dlib can't open it \("):
        open_embedder(replace(dlib_model, path=path))


_OPENED = []


def _open_here(model_bytes):
    _OPENED.append(open_embedder(pickle.loads(model_bytes)))


def _embed_here(paths):
    crops = [decode_image(path.read_bytes(), path.name) for path in paths]
    return _OPENED[0].embed(np.stack(crops))


def _accuracy(pairs, model):
    """Embed the pairs' pictures in two processes and verify."""
    paths = sorted({path for pair in pairs for path in (pair.first, pair.second)})
    blocks = [paths[i : i + 32] for i in range(0, len(paths), 32)]
    context = multiprocessing.get_context("spawn")
    with context.Pool(2, _open_here, (pickle.dumps(model),)) as pool:
        vectors = np.concatenate(pool.map(_embed_here, blocks))
    return verify(pairs, dict(zip(paths, vectors, strict=True)))[0]


def _lfw(shared, per_kind=None):
    lab = shared / "faces/lab"
    return read_pairs(lab / "lfw_pairs.txt", lab / "lfw_112x112", per_kind)


@pytest.mark.shared
@pytest.mark.slow
def test_mobilefacenet_reaches_its_accuracy_on_lfw(shared):
    model = resolve_model(str(shared / "models/mobilefacenet_128d.onnx"), "embed")
    pairs = _lfw(shared)
    assert len(pairs) == 6000
    assert _accuracy(pairs, model) == pytest.approx(99.33, abs=0.05)


@pytest.mark.shared
@pytest.mark.network
@pytest.mark.slow
def test_dlib_reaches_its_accuracy_on_a_part_of_lfw(shared, dlib_model):
    # 0.1 s a crop: the first 15 pairs of each kind and fold here, all of them in tests/bench.
    pairs = _lfw(shared, per_kind=15)
    assert len(pairs) == 300
    assert _accuracy(pairs, dlib_model) >= 98.5
