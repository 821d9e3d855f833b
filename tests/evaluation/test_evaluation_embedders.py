import numpy as np
import pytest
import torch
from support.coded_faces import code_crop, make_coded_set, read_codes
from support.onnx_models import mean_colour_embedder
from support.stores import make_dataset

from fusekit.curate.embed import embed_dataset
from fusekit.errors import ModelError, StoreError, WorkError
from fusekit.evaluation.embedders import Embeddings
from fusekit.faces.image import encode_crop
from fusekit.progress import silent
from fusekit.store import layout
from fusekit.store.layout import open_store


@pytest.fixture
def storage(tmp_path):
    return open_store(tmp_path / "store", create=True)


def manifest_codes(storage, info, codes):
    """The codes in the manifest's order."""
    samples = Embeddings(read_codes, 0, silent).of(storage, info, mirrored=False)
    keys = [layout.sample_key(f"p{i // 3:03d}/{i:05d}.jpg", 0) for i in range(len(codes))]
    assert sorted(keys) == sorted(samples.keys.to_pylist())
    return codes[[keys.index(key) for key in samples.keys.to_pylist()]], samples


def test_a_callable_gets_every_crop_and_its_vectors_are_kept_as_they_are(storage):
    info, codes = make_coded_set(storage, "lfw", 5, 3, unit_size=4)
    expected, samples = manifest_codes(storage, info, codes)
    assert np.array_equal(samples.plain, expected)
    assert samples.mirrored is None


def test_mirrored_outputs_are_those_of_the_mirror_image(storage):
    info, _ = make_coded_set(storage, "lfw", 2, 3)
    samples = Embeddings(read_codes, 0, silent).of(storage, info, mirrored=True)
    there = samples.plain.reshape(-1, 7, 7, 3)
    assert np.array_equal(samples.mirrored.reshape(-1, 7, 7, 3), there[:, :, ::-1])
    assert not np.array_equal(samples.mirrored, samples.plain)


def test_each_crop_is_embedded_once_a_run(storage):
    info, _ = make_coded_set(storage, "lfw", 5, 3)
    seen = []

    def counting(crops):
        seen.append(len(crops))
        return read_codes(crops)

    embeddings = Embeddings(counting, 0, silent)
    for mirrored in (False, True, True, False):
        embeddings.of(storage, info, mirrored=mirrored)
    assert sum(seen) == 2 * 15
    assert (embeddings.name, embeddings.sha256) == ("counting", None)


class Colours(torch.nn.Module):
    """The three channel means, after a batch norm that would change in training mode."""

    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm2d(3)
        self.head = torch.nn.Dropout(0.5)

    def forward(self, pixels):
        assert pixels.dtype == torch.float32
        assert tuple(pixels.shape[1:]) == (3, 112, 112)
        return self.head(self.norm(pixels)).mean(dim=(2, 3))


def test_a_torch_module_works_in_evaluation_mode_and_is_left_as_it_was(storage):
    info, codes = make_coded_set(storage, "lfw", 4, 3)
    module = Colours()
    module.norm.eval()
    samples = Embeddings(module, 0, silent).of(storage, info, mirrored=False)
    assert (module.training, module.norm.training, module.head.training) == (True, False, True)
    expected, _ = manifest_codes(storage, info, codes)
    means = expected.reshape(-1, 49, 3).mean(axis=1) * 100 + 128
    # The running mean is 0 and the variance 1, but for batch norm's own epsilon.
    assert np.allclose(samples.plain, (means - 127.5) / 127.5 / np.sqrt(1 + 1e-5), atol=1e-5)


def test_a_named_model_gives_the_same_standing_or_made_now_by_any_workers(storage, tmp_path):
    info, _ = make_coded_set(storage, "lfw", 6, 3, unit_size=9)
    model = str(mean_colour_embedder(tmp_path / "mean.onnx"))
    made = Embeddings(model, 0, silent).of(storage, info, mirrored=True)
    by_two = Embeddings(model, 2, silent).of(storage, info, mirrored=False)
    embed_dataset("lfw", model=model, store=storage.root, workers=0)
    seen = []
    standing = Embeddings(model, 0, seen.append).of(storage, info, mirrored=False)
    assert np.array_equal(made.plain, by_two.plain)
    assert np.array_equal(made.plain, standing.plain)
    assert not seen  # nothing was embedded


def test_crops_of_other_templates_are_brought_to_the_model_s(storage, tmp_path):
    info = make_dataset(storage, "ffhq", {"a": 3}, kind="evaluation", template="dlib-150")
    model = str(mean_colour_embedder(tmp_path / "mean.onnx"))
    made = Embeddings(model, 0, silent).of(storage, info, mirrored=False)
    embed_dataset("ffhq", model=model, store=storage.root, workers=0)
    standing = Embeddings(model, 0, silent).of(storage, info, mirrored=False)
    assert np.array_equal(made.plain, standing.plain)


def test_a_dataset_without_samples_has_no_embeddings(storage):
    info = make_dataset(storage, "none", {}, kind="evaluation")
    samples = Embeddings(read_codes, 0, silent).of(storage, info, mirrored=True)
    assert (len(samples.keys), len(samples.plain), len(samples.mirrored)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (lambda crops: np.zeros((len(crops), 4)), "its embedding is zero or not finite"),
        (lambda crops: np.full((len(crops), 4), np.nan), "its embedding is zero or not finite"),
        (
            lambda crops: np.ones(len(crops)),
            r"gives an array of shape \(6,\) for 6 crops; expected",
        ),
        (lambda crops: np.ones((1, 4)), r"gives an array of shape \(1, 4\) for 6 crops"),
    ],
)
def test_a_model_that_gives_no_directions_is_refused(storage, model, found):
    info, _ = make_coded_set(storage, "lfw", 2, 3)
    with pytest.raises(WorkError, match=found):
        Embeddings(model, 0, silent).of(storage, info, mirrored=False)


def test_a_model_that_gives_another_dimension_now_and_then_is_refused(storage):
    info, _ = make_coded_set(storage, "lfw", 3, 3, unit_size=4)
    dims = iter(range(3, 100))
    with pytest.raises(ModelError, match=r"gives \[3, 4, 5\] numbers a face; expected always"):
        Embeddings(lambda crops: np.ones((len(crops), next(dims))), 0, silent).of(
            storage, info, mirrored=False
        )


def test_damaged_crops_are_told(storage):
    info, _ = make_coded_set(storage, "lfw", 2, 3)
    shard = storage.path(layout.shard("lfw", 0))
    data = bytearray(shard.read_bytes())
    at = data.find(encode_crop(code_crop(np.zeros(147)), "png")[:8])
    data[at + 60] ^= 255
    shard.write_bytes(bytes(data))
    with pytest.raises(WorkError, match="is not the crop that the manifest names"):
        Embeddings(read_codes, 0, silent).of(storage, info, mirrored=False)
    shard.unlink()
    with pytest.raises(WorkError, match=r"lfw-000000.tar: is missing; fusekit verify lfw tells"):
        Embeddings(read_codes, 0, silent).of(storage, info, mirrored=False)


def test_crops_of_no_known_template_are_refused(storage):
    info = make_dataset(storage, "odd", {"a": 2}, kind="evaluation", template="mine")
    with pytest.raises(StoreError, match="odd: holds mine crops; expected crops of arcface-112"):
        Embeddings(read_codes, 0, silent).of(storage, info, mirrored=False)


def test_a_model_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"no\.onnx"):
        Embeddings(str(tmp_path / "no.onnx"), 0, silent)
