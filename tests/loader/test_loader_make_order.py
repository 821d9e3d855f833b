"""The order of real mixtures: what the recipe says, and what a loader is told instead."""

import json
from fractions import Fraction

import numpy as np
import pytest
from support.recipes import build
from support.stores import make_dataset

from fusekit.errors import LoaderError, StateError
from fusekit.loader.order.make import class_rows, make_order
from fusekit.loader.state import make_state, read_step
from fusekit.mixture.drawing import SamplerSettings
from fusekit.mixture.mixture import Mixture
from fusekit.store.layout import open_store

SIZES = {
    "big": {f"p{i:02d}": 3 + i % 4 for i in range(12)},
    "small": {"ann": 5, "bob": 2, "eve": 6},
}
UNLABELED = [{"dataset": "crawl"}]


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    storage = open_store(tmp_path_factory.mktemp("store") / "s", create=True)
    for name, people in SIZES.items():
        make_dataset(storage, name, people)
    make_dataset(storage, "crawl", 20)
    return storage


@pytest.fixture(scope="module")
def mixture(storage):
    return opened(storage, name="plain")


def opened(storage, name, **more):
    build(storage, "big", "small", unlabeled=UNLABELED, name=name, **more)
    return Mixture.open(name, storage.root)


def order_of(mixture, batch_size=8, world_size=2, seed=0, **more):
    return make_order(mixture, batch_size=batch_size, world_size=world_size, seed=seed, **more)


def test_without_a_word_it_is_one_pooled_stream_with_the_recipe_share(mixture):
    order = order_of(mixture, seed=None)
    settings = order.settings
    assert (settings.weights, settings.grouping, settings.sampler) == (None, "mixed", None)
    assert (settings.seed, settings.global_batch) == (mixture.seed, 16)
    assert settings.unlabeled_fraction == Fraction(1, 4)
    assert order.epoch_start(1) == -(-mixture.labeled // 12)


@pytest.mark.parametrize(
    ("by", "weights"),
    [
        ("images", (54, 13)),
        ("identities", (838861, 209715)),
        ({"weights": {"small": 1, "big": "1/3"}}, (262144, 786432)),
        ({"temperature": 2}, (703434, 345142)),
    ],
)
def test_shares_come_from_the_recipe_or_the_loader(storage, mixture, by, weights):
    name = f"by-{weights[0]}"
    recipe = opened(storage, name, batch={"by": by})
    assert order_of(recipe).settings.weights == weights
    assert order_of(mixture, weights=by).settings.weights == weights
    assert order_of(recipe, weights="pooled").settings.weights is None
    assert order_of(recipe, weights=(2, 3)).settings.weights == (2, 3)
    assert order_of(mixture, weights=np.array([2, 3])).settings.weights == (2, 3)


def test_the_recipe_sampler_holds_unless_the_loader_says_otherwise(storage):
    sampler = {"identities": 3, "images": 2, "datasets": ["big"], "min_images": 4}
    mixture = opened(storage, "sampled", batch={"size": 8}, sampler=sampler, epochs="stop_first")
    order = order_of(mixture)
    assert order.settings.sampler.identities == 6
    assert order.settings.sampler.images == 2
    assert order.settings.sampler.sources == (0,)
    assert (order.identities.classes, order.identities.left_out) == (9, 6)
    assert order.epoch_start(1) == 1
    assert order_of(mixture, sampler="none").settings.sampler is None
    assert order_of(mixture, weights="images").settings.sampler is None
    alone = order_of(mixture, grouping="one_dataset").settings
    assert (alone.sampler, alone.grouping) == (None, "one_dataset")
    other = {"identities": 2, "images": 3}
    for given in (other, {"identities": np.int64(2), "images": 3}, SamplerSettings(**other)):
        assert order_of(mixture, sampler=given).settings.sampler.images == 3


def test_a_loader_that_asks_for_identities_goes_before_the_recipe_shares(storage):
    mixture = opened(storage, "turns", batch={"by": "images", "grouping": "one_dataset"})
    assert order_of(mixture).settings.grouping == "one_dataset"
    settings = order_of(mixture, sampler={"identities": 3, "images": 2}).settings
    assert (settings.weights, settings.grouping) == (None, "mixed")
    sliced = order_of(mixture, sampler={"identities": 3, "images": 2}, grouping="sub_batches")
    assert sliced.settings.grouping == "sub_batches"
    assert [source for source, _, _ in sliced.plan(0, 0, 2).parts] == sorted(
        {sliced.source_of(int(row)) for row in sliced.plan(0, 0, 2).rows[:6]}
    )


def test_identities_are_those_of_the_mixture(mixture):
    order = order_of(mixture, sampler={"identities": 3, "images": 2})
    label = mixture.index.label
    counts = np.bincount(label[: mixture.labeled])
    for step in range(20):
        people = []
        for rank in (0, 1):
            rows = order.plan(step, rank, 2).rows[:6].reshape(3, 2)
            assert (label[rows[:, 0]] == label[rows[:, 1]]).all()
            assert (rows[:, 0] != rows[:, 1]).all()
            people += label[rows[:, 0]].tolist()
        assert len(set(people)) == 6
    assert counts[people].min() >= 2


def test_the_rows_of_each_class_are_found_without_reading_their_names(mixture):
    classes = class_rows(mixture)
    label = mixture.index.label
    for k, (first, count) in enumerate(zip(classes.first, classes.images, strict=True)):
        assert set(label[classes.rows[first : first + count]].tolist()) == {k}
    assert classes.images.sum() == mixture.labeled
    assert "classes" not in vars(mixture)


def test_epochs_come_from_the_loader_or_the_recipe(storage, mixture):
    recipe = opened(storage, "steps", epochs={"steps": 9})
    assert order_of(recipe).epoch_start(2) == 18
    assert order_of(recipe, epochs="cycle").epoch_start(1) == 6
    assert order_of(mixture, epochs={"steps": 7}).epoch_start(2) == 14
    assert order_of(mixture, epochs="stop_first").epoch_start(1) == 5


def test_a_mixture_keeps_its_state_and_recipe_when_nothing_new_is_asked_for(storage, mixture):
    plain = json.loads((mixture.path / "mixture.json").read_bytes())["recipe"]
    assert set(plain) == {"name", "labeled", "unlabeled", "batch", "labels", "template", "seed"}
    assert set(plain["batch"]) == {"size", "unlabeled_fraction"}
    assert build(storage, "big", "small", unlabeled=UNLABELED, name="plain").state == "unchanged"
    assert set(order_of(mixture).settings.as_json()) == {
        "version", "seed", "global_batch", "unlabeled_fraction", "weights", "block", "window",
    }  # fmt: skip


def test_the_settings_of_another_order_are_named_one_by_one(mixture):
    sampler = {"identities": 3, "images": 2, "datasets": ["small"], "min_images": 2}
    settings = order_of(mixture, world_size=1, sampler=sampler, grouping="sub_batches").settings
    plain = settings.as_json()
    assert plain["grouping"] == "sub_batches"
    assert [plain[f"sampler.{key}"] for key in ("identities", "images", "min_images")] == [3, 2, 2]
    assert len(plain["sampler.datasets"]) == 64
    assert json.loads(json.dumps(plain)) == plain


def test_a_state_of_identities_fits_every_world_size_and_no_other_sampler(mixture):
    sampler = {"identities": 6, "images": 2, "datasets": ["big"]}
    alone = order_of(mixture, 16, 1, sampler=sampler)
    pair = order_of(mixture, 8, 2, sampler=sampler | {"identities": 3})
    state = json.loads(json.dumps(make_state("f", alone.settings, 9)))
    assert read_step(state, "f", pair.settings) == 9
    assert len(json.dumps(state)) < 1024
    both = [np.sort(np.concatenate([o.plan(9, r, w).rows for r in range(w)]))
            for o, w in ((alone, 1), (pair, 2))]  # fmt: skip
    assert np.array_equal(*both)
    for other, message in (
        (
            {"identities": 4, "images": 3, "datasets": ["big"]},
            "sampler.identities is 6; expected 4",
        ),
        ({"identities": 6, "images": 2}, "sampler.datasets is '"),
        (sampler | {"min_images": 4}, "sampler.min_images is 1; expected 4"),
        ("none", "sampler.datasets is '"),
    ):
        order = order_of(mixture, 16, 1, sampler=other)
        with pytest.raises(StateError, match=f"^state: order.{message}"):
            read_step(state, "f", order.settings)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"weights": "image"}, "weights: 'image'; did you mean 'images'?"),
        ({"weights": "zebra"}, "weights: 'zebra'; expected 'images', 'identities', {weights:"),
        ({"weights": {"weight": {}}}, "weights: unknown key 'weight'; did you mean 'weights'?"),
        ({"weights": {"weights": {}}}, "weights: {'weights': {}}; expected 'images', 'ident"),
        ({"weights": {"temperature": 0}}, "weights: 0 is no temperature; expected a number over 0"),
        ({"weights": {"temperature": "x"}}, "weights: 'x' is no temperature; expected 2, 0.5 or"),
        (
            {"weights": {"weights": {"big": 1}}},
            "weights: the labeled dataset 'small' has no weight; expected one of every labeled one",
        ),
        (
            {"weights": {"weights": {"big": 1, "smal": 1}}},
            "weights: no labeled dataset is named 'smal'; did you mean 'small'?",
        ),
        ({"weights": (1, 2.5)}, "a weight: is 2.5; expected an integer"),
        ({"weights": (1, True)}, "a weight: is True; expected an integer"),
        ({"weights": (1,)}, "order: 1 weights; expected 2, one per labeled source"),
        (
            {"grouping": "one-dataset"},
            "grouping: is 'one-dataset'; expected 'mixed', 'sub_batches' or 'one_dataset'; did you "
            "mean 'one_dataset'?",
        ),
        ({"grouping": 3}, "grouping: is 3; expected 'mixed', 'sub_batches' or 'one_dataset'"),
        (
            {"epochs": 10},
            "epochs: 10 is no end of an epoch; expected 'cycle', 'stop_first' or {steps: number}; "
            "it says where an epoch ends, not how many there are: {steps: 10} is an epoch of 10 ",
        ),
        ({"epochs": "stopfirst"}, "epochs: 'stopfirst'; did you mean 'stop_first'?"),
        ({"epochs": {"step": 3}}, "epochs: unknown key 'step'; did you mean 'steps'?"),
        ({"epochs": {"steps": 0}}, "epochs: steps is 0; expected an integer from 1 on"),
        ({"sampler": 5}, "sampler: is 5; expected {'identities': P, 'images': K} or 'none'"),
        (
            {"sampler": {"identities": 3, "image": 2}},
            "sampler: unknown key 'image'; did you mean 'images'?",
        ),
        ({"sampler": {"identities": 3}}, "sampler: the key 'images' is missing"),
        ({"sampler": {"identities": 0, "images": 2}}, "sampler: identities: 0; expected greater"),
        (
            {"sampler": {"identities": True, "images": 2}},
            "sampler: identities: True; expected a valid integer",
        ),
        (
            {"sampler": {"identities": 4, "images": 2}},
            "sampler: 4 identities x 2 images are 8 rows; expected 6, the labeled part of a batch "
            "of 8 with 1/4 unlabeled",
        ),
        (
            {"sampler": {"identities": 4, "images": 2}, "batch_size": 10},
            "sampler: the labeled part of a batch of 10 with 1/4 unlabeled is 15/2 rows, no whole "
            "number; make the batch a multiple of 4",
        ),
        (
            {"sampler": {"identities": 3, "images": 2, "datasets": ["bug"]}},
            "sampler.datasets: no labeled dataset is named 'bug'; did you mean 'big'?",
        ),
        (
            {"sampler": {"identities": 3, "images": 2, "datasets": ["big", "big"]}},
            "sampler.datasets: the dataset 'big' is there twice",
        ),
        (
            {"sampler": {"identities": 3, "images": 2, "datasets": ["small"]}},
            "sampler: 3 identities to draw from; expected at least 6, those of one global batch",
        ),
        (
            {"sampler": {"identities": 3, "images": 2}, "weights": "images"},
            "sampler: draws identities whatever their dataset; expected no weights",
        ),
        (
            {"sampler": {"identities": 3, "images": 2}, "grouping": "one_dataset"},
            "sampler: does not go with one dataset a batch; sampler.datasets can be one dataset",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(mixture, more, message):
    with pytest.raises(LoaderError) as error:
        order_of(mixture, **more)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
