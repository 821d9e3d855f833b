import numpy as np
import pytest
from support.people import MODEL, draw_images, draw_people, make_people
from support.real_store import copy_store

from fusekit.report.signature import _fit, measure_signature
from fusekit.store.datasets import list_datasets
from fusekit.store.embeddings import EmbeddingModel
from fusekit.store.layout import open_store


def make(storage, name, people, *, shift=None, first=0, images=6, model=MODEL):
    """Make a dataset of people; ``shift`` is added to every image of it."""
    drawn = {
        f"p{i}": draw_images(person, images, seed=first + i) / 10 + (0 if shift is None else shift)
        for i, person in enumerate(people)
    }
    return make_people(storage, name, drawn, model=model)


@pytest.fixture
def storage(tmp_path):
    return open_store(tmp_path / "store", create=True)


def test_datasets_with_a_look_of_their_own_are_told_apart(storage):
    people = draw_people(80, seed=1)
    look = draw_people(1, seed=9)[0]
    make(storage, "plain", people[:40])
    make(storage, "tinted", people[40:], shift=look, first=40)
    found = measure_signature(storage, list_datasets(storage))
    assert found.accuracy > 0.9
    assert found.control < 0.65
    assert found.chance == 0.5
    assert [d.dataset for d in found.datasets] == ["plain", "tinted"]
    assert [d.samples for d in found.datasets] == [240, 240]
    assert [d.identities for d in found.datasets] == [40, 40]


def test_datasets_without_one_are_not(storage):
    people = draw_people(120, seed=2)
    for k in range(3):
        make(storage, f"part{k}", people[k::3], first=40 * k)
    found = measure_signature(storage, list_datasets(storage))
    assert found.chance == pytest.approx(0.333)
    assert abs(found.accuracy - found.chance) < 0.12
    assert abs(found.control - found.chance) < 0.12


def test_people_seen_in_training_do_not_help(storage):
    """Each person has a direction of their own: only what people share can be used."""
    people = np.eye(64)[:48]
    make(storage, "a", people[:24])
    make(storage, "b", people[24:], first=24)
    assert measure_signature(storage, list_datasets(storage)).accuracy < 0.65


def test_it_is_the_same_in_every_run(storage):
    people = draw_people(40, seed=3)
    make(storage, "a", people[:20])
    make(storage, "b", people[20:], shift=draw_people(1)[0] / 3, first=20)
    infos = list_datasets(storage)
    assert measure_signature(storage, infos) == measure_signature(storage, infos)


def test_unlabeled_samples_are_people_of_their_own(storage):
    people = draw_people(60, seed=4)
    make(storage, "a", people[:20])
    make_people(storage, "crawl", np.concatenate([p[None] * 9 for p in people[20:]] * 2))
    found = {d.dataset: d for d in measure_signature(storage, list_datasets(storage)).datasets}
    assert found["crawl"].identities == 80


def test_small_sets_and_those_of_other_models_are_left_out(storage):
    people = draw_people(100, seed=5)
    make(storage, "a", people[:20])
    make(storage, "few-people", people[20:25], images=20)
    make(storage, "few-images", people[25:45], images=1)
    assert measure_signature(storage, list_datasets(storage)) is None
    make(storage, "other", people[45:65], model=EmbeddingModel("other", "cd" * 32))
    assert measure_signature(storage, list_datasets(storage)) is None
    make(storage, "b", people[65:], first=65)
    found = measure_signature(storage, list_datasets(storage))
    assert [d.dataset for d in found.datasets] == ["a", "b"]
    assert found.model == "drawn"


def test_the_fit_is_the_weighted_ridge_regression():
    rng = np.random.default_rng(0)
    vectors, classes = rng.standard_normal((60, 5)), rng.integers(0, 3, 60)
    weights, bias = _fit(vectors, classes, 3)
    share = (1 / (3 * np.bincount(classes)))[classes]
    wanted = np.eye(3)[classes] - 1 / 3
    centred = vectors - (share[:, None] * vectors).sum(axis=0)
    ridge = 0.01 * (share @ (centred**2).sum(axis=1)) / 5

    def loss(matrix):
        errors = ((centred @ matrix - wanted) ** 2).sum(axis=1)
        return share @ errors + ridge * (matrix**2).sum()

    best = loss(weights)
    for _ in range(50):
        assert loss(weights + rng.standard_normal(weights.shape) * 0.01) > best
    assert np.allclose(share @ (vectors @ weights + bias), 0)


@pytest.mark.shared
def test_real_sets_are_told_apart_better_than_by_chance(real_store, tmp_path):
    storage = open_store(copy_store(real_store, tmp_path / "store"))
    found = measure_signature(storage, list_datasets(storage))
    assert found.accuracy > 1.5 * found.chance
    assert abs(found.control - found.chance) < 0.08
