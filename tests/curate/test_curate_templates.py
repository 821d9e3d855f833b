"""Templates: robust to wrong images, two for an identity that is two people, bounded in memory."""

import numpy as np
import pytest
from support.people import draw_images, draw_people, make_people

from fusekit.curate import templates as module
from fusekit.curate.prototypes import unit_rows
from fusekit.curate.templates import (
    make_templates,
    sample_templates,
    split_in_two,
    trimmed_mean,
)
from fusekit.store.embeddings import EmbeddingSet
from fusekit.store.layout import open_store

PEOPLE = draw_people(200)


@pytest.fixture
def storage(tmp_path):
    return open_store(tmp_path / "store", create=True)


def images(person, count, seed=0):
    return draw_images(PEOPLE[person], count, seed * 1000 + person)


def make(storage, people, **settings):
    info = make_people(storage, "a", people, **settings)
    embeddings = EmbeddingSet.open(storage, info)
    return make_templates(storage, embeddings), embeddings


def cosine(a, b):
    return float(np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b))


def test_a_template_is_the_mean_without_the_farthest_fifth(storage):
    people = {f"p{i:02d}": images(i, 10) for i in range(12)}
    found, embeddings = make(storage, people)
    for t in range(12):
        vectors = embeddings.take(found.rows_of(t)).astype(np.float64)
        far_from = vectors.mean(axis=0)
        kept = sorted(range(10), key=lambda i: -float(vectors[i] @ far_from))[:8]
        expected = vectors[kept].sum(axis=0)
        expected /= np.linalg.norm(expected)
        np.testing.assert_allclose(found.centres[t], expected, atol=1e-6)


def test_wrong_images_move_a_template_less_than_a_mean(storage):
    people = {f"p{i:02d}": images(i, 10) for i in range(12)}
    people["p00"] = np.concatenate([images(0, 8), images(50, 1), images(51, 1)])
    found, embeddings = make(storage, people)
    mean = embeddings.take(found.rows_of(0)).mean(axis=0)
    assert cosine(found.centres[0], PEOPLE[0]) > cosine(mean, PEOPLE[0]) + 0.01
    assert found.of_identity.tolist() == list(range(12))


def test_every_sample_stands_in_its_identitys_template(storage):
    people = {f"p{i:02d}": images(i, 1 + i % 4) for i in range(12)}
    found, embeddings = make(storage, people, unit_size=5)
    index = np.concatenate([block.identity_index for block in embeddings.blocks()])
    assert sorted(found.rows.tolist()) == list(range(len(index)))
    for t in range(12):
        assert set(index[found.rows_of(t)]) == {found.of_identity[t]}
        assert found.rows_of(t).tolist() == sorted(found.rows_of(t))
    assert found.images.tolist() == [1 + i % 4 for i in range(12)]
    assert found.identities == tuple(sorted(people))
    assert found.names == (None,) * 12


def test_two_people_in_one_identity_get_two_templates(storage):
    people = {f"p{i:02d}": images(i, 10) for i in range(30)}
    people["p07"] = np.concatenate([images(7, 28), images(100, 12)])
    found, embeddings = make(storage, people)
    (at,) = np.flatnonzero(np.bincount(found.of_identity) == 2)
    assert at == 7
    first, second = np.flatnonzero(found.of_identity == 7)
    assert found.images[[first, second]].tolist() == [28, 12]
    assert cosine(found.centres[first], PEOPLE[7]) > 0.95
    assert cosine(found.centres[second], PEOPLE[100]) > 0.9
    truth = embeddings.take(found.rows_of(second)) @ np.stack([PEOPLE[7], PEOPLE[100]]).T
    assert (truth[:, 1] > truth[:, 0]).all()


def test_two_stray_images_are_no_second_person(storage):
    people = {f"p{i:02d}": images(i, 10) for i in range(30)}
    people["p07"] = np.concatenate([images(7, 8), images(100, 2)])
    found, _ = make(storage, people)
    assert len(found.centres) == 30


def test_a_split_needs_centres_as_far_as_strangers():
    between = unit_rows((PEOPLE[:1] + 0.9 * PEOPLE[1:2]).astype(np.float32))[0]
    alike = unit_rows(np.concatenate([images(0, 20), draw_images(between, 20, 5)]))
    apart = unit_rows(np.concatenate([images(0, 20), images(1, 20)]))
    assert len(split_in_two(alike, 0.3)) == 1
    parts = split_in_two(apart, 0.3)
    assert [part.tolist() for part in parts] == [list(range(20)), list(range(20, 40))]
    assert len(split_in_two(apart, -0.9)) == 1


def test_the_trimmed_mean_of_equal_images_is_that_image():
    one = unit_rows(images(0, 1))
    np.testing.assert_allclose(trimmed_mean(np.repeat(one, 7, axis=0)), one[0], atol=1e-7)
    assert [part.tolist() for part in split_in_two(np.repeat(one, 7, axis=0), 1.0)] == [
        list(range(7))
    ]


def test_erased_samples_do_not_count(storage):
    people = {f"p{i:02d}": images(i, 3) for i in range(5)}
    people["p01"][1] = 0
    people["p04"][:] = 0
    found, _ = make(storage, people)
    assert found.of_identity.tolist() == [0, 1, 2, 3]
    assert found.images.tolist() == [3, 2, 3, 3]
    assert found.identities == ("p00", "p01", "p02", "p03", "p04")


def test_a_dataset_without_one_image_has_no_templates(storage):
    found, _ = make(storage, {"p": np.zeros((2, 64), np.float32)})
    assert (found.centres.shape, found.starts.tolist(), len(found.rows)) == ((0, 64), [0], 0)


def test_groups_of_any_size_give_the_same_templates(storage, monkeypatch):
    people = {f"p{i:02d}": images(i, 1 + i % 7) for i in range(40)}
    people["p07"] = np.concatenate([images(7, 9), images(100, 6)])
    whole, embeddings = make(storage, people, unit_size=7)
    for held in (1, 5 * 4 * 64, 11 * 4 * 64):
        monkeypatch.setattr(module, "_GROUP_BYTES", held)
        parts = make_templates(storage, embeddings)
        assert parts.centres.tobytes() == whole.centres.tobytes()
        assert parts.rows.tobytes() == whole.rows.tobytes()
        assert parts.of_identity.tolist() == whole.of_identity.tolist()


def test_no_more_embeddings_are_held_than_the_group_may_have(storage, monkeypatch):
    _, embeddings = make(storage, {f"p{i:02d}": images(i, 5) for i in range(20)})
    monkeypatch.setattr(module, "_GROUP_BYTES", 12 * 4 * 64)
    taken, take = [], embeddings.take
    embeddings.take = lambda rows: taken.append(len(rows)) or take(rows)
    make_templates(storage, embeddings)
    assert max(taken) <= 12
    assert sum(taken) == 100


def test_every_sample_can_be_its_own_template(storage):
    outputs = np.concatenate([images(i, 2) for i in range(5)])
    outputs[3] = 0
    info = make_people(storage, "crawl", outputs)
    embeddings = EmbeddingSet.open(storage, info)
    found = sample_templates(embeddings)
    np.testing.assert_allclose(np.linalg.norm(found.centres, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(found.centres, unit_rows(embeddings.take(found.rows)))
    assert len(found.centres) == 9
    assert found.starts.tolist() == list(range(10))
    assert (found.identities, set(found.of_identity)) == ((), {-1})
