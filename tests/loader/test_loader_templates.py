"""Mixtures of crops with several templates: every batch holds the one that the recipe names."""

import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg
from support.recipes import build, recipe
from support.stores import draw_sized_crop, make_dataset

from fusekit.cards.card import CROP_SIZES
from fusekit.errors import MixtureError, RecipeError, StateError
from fusekit.faces.rewarp import Rewarp
from fusekit.loader.loader import MixtureLoader
from fusekit.mixture.mixture import Mixture
from fusekit.mixture.plan import plan_mixture
from fusekit.mixture.recipe import Recipe
from fusekit.store.layout import open_store

PEOPLE = {"ann": 5, "bob": 4}
TEMPLATE = {"template": "arcface-112"}


def encode(crop, fmt):
    if fmt == "jpg":
        return simplejpeg.encode_jpeg(crop, quality=95, colorsubsampling="444")
    if fmt == "png":
        return cv2.imencode(".png", np.ascontiguousarray(crop[..., ::-1]))[1].tobytes()
    file = io.BytesIO()
    np.save(file, crop)
    return file.getvalue()


def decode(data, fmt):
    if fmt == "jpg":
        return simplejpeg.decode_jpeg(data)
    if fmt == "png":
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    return np.load(io.BytesIO(data))


def stored(mixture, row, fmt):
    index = mixture.index
    data = mixture.shard_paths[index.shard[row]].read_bytes()
    return decode(data[index.offset[row] :][: index.length[row]], fmt)


def make(storage, name, template, people=PEOPLE, fmt="jpg", first=0):
    count = people if isinstance(people, int) else sum(people.values())
    crops = [draw_sized_crop(first + n, CROP_SIZES[template]) for n in range(count)]
    images = [encode(crop, fmt) for crop in crops]
    make_dataset(storage, name, people, template=template, images=images, fmt=fmt)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    storage = open_store(tmp_path_factory.mktemp("mixed") / "s", create=True)
    make(storage, "arc", "arcface-112")
    make(storage, "sphere", "sphereface-96x112", first=100)
    make(storage, "chips", "dlib-150", people=6, first=200)
    build(storage, "arc", "sphere", unlabeled=["chips"], **TEMPLATE)
    return storage


def hwc(images, layout):
    return images.transpose(0, 2, 3, 1) if layout == "chw" else images


@pytest.mark.parametrize("layout", ["chw", "hwc"])
@pytest.mark.parametrize("fmt", ["jpg", "png", "raw"])
def test_sphereface_crops_are_padded_by_hand_exactly(tmp_path, layout, fmt):
    storage = open_store(tmp_path / "s", create=True)
    make(storage, "arc", "arcface-112", fmt=fmt)
    make(storage, "sphere", "sphereface-96x112", fmt=fmt, first=100)
    build(storage, "arc", "sphere", **TEMPLATE)
    mixture = Mixture.open(storage.path("mixtures/m"))
    seen = set()
    with MixtureLoader(mixture, 6, layout=layout, arrays="numpy", augment="none") as loader:
        for batch in loader:
            for row, source, image in zip(
                batch.rows, batch.dataset_index, hwc(batch.images, layout), strict=True
            ):
                wanted = stored(mixture, row, fmt)
                if source == 1:
                    wanted = np.pad(wanted, [(0, 0), (8, 8), (0, 0)])
                assert np.array_equal(image, wanted)
                seen.add(row)
    assert len(seen) == 18


@pytest.mark.parametrize("layout", ["chw", "hwc"])
def test_every_source_is_brought_to_the_recipe_s_template(mixed, layout):
    mixture = Mixture.open(mixed.path("mixtures/m"))
    assert (mixture.template, mixture.crop_size) == ("arcface-112", (112, 112))
    templates = [source.template for source in mixture.sources]
    assert templates == ["arcface-112", "sphereface-96x112", "dlib-150"]
    bring = [Rewarp.of(template) for template in templates]
    sources = set()
    with MixtureLoader(
        mixture, 8, layout=layout, arrays="numpy", verify="sample", augment="none"
    ) as loader:
        for batch in loader:
            images = hwc(batch.images, layout)
            for row, source, image in zip(batch.rows, batch.dataset_index, images, strict=True):
                assert np.array_equal(image, bring[source](stored(mixture, row, "jpg")))
                sources.add(int(source))
        assert loader.report().stood_in == 0
    assert sources == {0, 1, 2}


def test_a_mixture_of_one_other_template_is_left_in_it_unless_the_recipe_asks(mixed):
    build(mixed, "sphere", name="plain")
    build(mixed, "sphere", name="brought", **TEMPLATE)
    plain, brought = (Mixture.open(mixed.path(f"mixtures/{n}")) for n in ("plain", "brought"))
    assert (plain.template, plain.crop_size) == ("sphereface-96x112", (96, 112))
    with MixtureLoader(plain, 4, arrays="numpy") as loader:
        assert next(iter(loader)).images.shape == (4, 3, 112, 96)
    assert brought.crop_size == (112, 112)
    with MixtureLoader(brought, 4, arrays="numpy") as loader:
        assert next(iter(loader)).images.shape == (4, 3, 112, 112)


def test_the_mixture_says_what_it_gives_and_what_each_source_holds(mixed):
    about = json.loads(mixed.read("mixtures/m/mixture.json"))
    assert (about["template"], about["crop_size"]) == ("arcface-112", [112, 112])
    assert [source["template"] for source in about["datasets"]] == [
        "arcface-112", "sphereface-96x112", "dlib-150",
    ]  # fmt: skip
    assert build(mixed, "arc", "sphere", unlabeled=["chips"], **TEMPLATE).state == "unchanged"


def test_the_template_is_part_of_the_mixture_s_fingerprint_and_so_of_a_loader_s_state(mixed):
    plain = plan_mixture(mixed, recipe("arc"), "x")
    brought = plan_mixture(mixed, recipe("arc", **TEMPLATE), "x")
    assert "template" not in plain.selection()
    assert brought.selection()["template"] == "arcface-112"
    assert plain.fingerprint != brought.fingerprint
    build(mixed, "arc", name="plain-arc")
    build(mixed, "arc", name="brought-arc", **TEMPLATE)
    with (
        MixtureLoader(mixed.path("mixtures/plain-arc"), 4) as one,
        MixtureLoader(mixed.path("mixtures/brought-arc"), 4) as other,
        pytest.raises(StateError),
    ):
        other.load_state_dict(one.state_dict())


def test_a_mixture_that_was_built_before_recipes_had_a_template_is_still_the_same(mixed):
    build(mixed, "arc", name="old")
    name = "mixtures/old/mixture.json"
    about = json.loads(mixed.read(name))
    del about["recipe"]["template"]
    for source in about["datasets"]:
        del source["template"]
    mixed.write(name, json.dumps(about).encode())
    assert [s.template for s in Mixture.open(mixed.path("mixtures/old")).sources] == ["arcface-112"]
    assert build(mixed, "arc", name="old").state == "unchanged"


def test_two_templates_are_refused_unless_the_recipe_says_which(mixed):
    with pytest.raises(RecipeError) as error:
        build(mixed, "arc", "sphere", unlabeled=["chips"], name="n")
    assert str(error.value) == (
        "recipe n: its datasets are aligned to 3 templates (arc: arcface-112 (112x112); sphere: "
        "sphereface-96x112 (96x112); chips: dlib-150 (150x150)); expected one; "
        "'template: arcface-112' in the recipe brings every crop to it"
    )


def test_a_template_that_no_one_knows_is_refused(mixed):
    make_dataset(mixed, "odd", {"a": 2}, template="lightcnn-144")
    with pytest.raises(RecipeError, match=r"odd is aligned to lightcnn-144 .*; expected a templ"):
        build(mixed, "arc", "odd", name="n", **TEMPLATE)


def test_only_arcface_is_a_target():
    with pytest.raises(ValueError, match="arcface-112"):
        Recipe.model_validate({"name": "m", "labeled": [{"dataset": "a"}], "template": "dlib-150"})


def test_a_crop_of_another_size_than_its_source_s_is_stood_in_for(tmp_path):
    storage = open_store(tmp_path / "s", create=True)
    make(storage, "arc", "arcface-112")
    sizes = [(96, 112)] * 8 + [(112, 112)]
    images = [encode(draw_sized_crop(n, size), "png") for n, size in enumerate(sizes)]
    make_dataset(storage, "sphere", PEOPLE, template="sphereface-96x112", images=images, fmt="png")
    build(storage, "arc", "sphere", **TEMPLATE)
    with MixtureLoader(storage.path("mixtures/m"), 18, arrays="numpy") as loader:
        list(loader)
        report = loader.report()
    assert report.reasons == {"size": 1}
    assert report.bad[0].detail == "112x112x3 pixels, not 112x96x3"


@pytest.mark.parametrize("template", ["lightcnn-144", None, 7])
def test_a_mixture_that_names_an_unknown_template_is_damaged(mixed, template):
    build(mixed, "arc", "sphere", name="bad", overwrite=True, **TEMPLATE)
    folder = Path(mixed.path("mixtures/bad"))
    about = json.loads((folder / "mixture.json").read_bytes())
    about["datasets"][1]["template"] = template
    (folder / "mixture.json").write_text(json.dumps(about))
    with pytest.raises(MixtureError, match=r"mixture.json is damaged"):
        Mixture.open(folder)
