"""Scales and the cosine threshold, against slow obvious loops over images."""

import numpy as np
import pytest
from support.people import draw_images, draw_people, make_people

from fusekit.curate import calibration
from fusekit.curate.calibration import SCALES, calibrate, cosine_threshold, held_out
from fusekit.curate.prototypes import make_prototypes, unit_rows
from fusekit.errors import FindingError
from fusekit.store.embeddings import EmbeddingSet
from fusekit.store.layout import open_store


@pytest.fixture
def storage(tmp_path):
    return open_store(tmp_path / "store", create=True)


def known(storage, name, sizes, seed=0, spread=0.7):
    people = draw_people(len(sizes), seed=seed)
    images = {
        f"p{i:03d}": draw_images(p, n, seed * 1000 + i, spread)
        for i, (p, n) in enumerate(zip(people, sizes, strict=True))
    }
    info = make_people(storage, name, images)
    embeddings = EmbeddingSet.open(storage, info)
    return make_prototypes(storage, embeddings), embeddings, images


def softmax_maximum(cosines, scale):
    logits = np.exp(scale * (cosines - cosines.max()))
    return logits.max() / logits.sum()


def obvious_shares(images, scale):
    """Score every image as a held-out image and as a held-out identity, one by one."""
    unit = {name: unit_rows(rows) for name, rows in images.items()}
    centres = {n: u.sum(axis=0) / np.linalg.norm(u.sum(axis=0)) for n, u in unit.items()}
    known, strangers = [], []
    for name, rows in unit.items():
        others = [centre for other, centre in centres.items() if other != name]
        for row in rows:
            rest = rows.sum(axis=0) - row
            cosines = np.array([rest @ row / np.linalg.norm(rest), *(c @ row for c in others)])
            known.append(softmax_maximum(cosines, scale) > 0.9)
            strangers.append(softmax_maximum(cosines[1:], scale) > 0.9)
    return np.mean(known), np.mean(strangers)


def test_the_fit_is_that_of_a_loop_over_images_and_scales(storage, monkeypatch):
    monkeypatch.setattr(calibration, "CLASS_BLOCK", 3)
    prototypes, embeddings, images = known(storage, "a", [4] * 8, spread=2.0)
    got = calibrate(prototypes, embeddings, 1)
    shares = np.array([obvious_shares(images, scale) for scale in SCALES])
    gain = shares[:, 0] - shares[:, 1]
    at = int(np.flatnonzero(got.scale == SCALES)[0])
    assert gain[at] >= gain.max() - 0.04  # float16 may move one image of 32
    assert (got.known, got.strangers) == pytest.approx(tuple(shares[at]), abs=0.04)
    assert got.images == 32


def test_of_equally_good_scales_the_middle_is_taken(storage):
    prototypes, embeddings, images = known(storage, "a", [4] * 8, spread=0.5)
    perfect = [
        s for s in SCALES if obvious_shares(images, s) == (1.0, 0.0)
    ]  # far people: many scales tell all from all
    assert len(perfect) > 4
    assert calibrate(prototypes, embeddings, 1).scale == perfect[len(perfect) // 2]


def test_more_datasets_ask_for_fewer_strangers_from_each(storage):
    prototypes, embeddings, _ = known(storage, "a", [5] * 40, spread=2.4)
    one, ten = (calibrate(prototypes, embeddings, k) for k in (1, 10))
    assert ten.scale < one.scale
    assert ten.strangers < one.strangers


def test_no_image_is_scored_on_itself(storage):
    # Two unrelated images a person: an image's own centre without it says nothing.
    rng = np.random.default_rng(0)
    images = {f"p{i}": rng.standard_normal((2, 64)).astype(np.float32) for i in range(30)}
    info = make_people(storage, "a", images)
    embeddings = EmbeddingSet.open(storage, info)
    got = calibrate(make_prototypes(storage, embeddings), embeddings, 1)
    assert got.known - got.strangers < 0.15


def test_the_cosine_threshold_leaves_one_hundredth_of_impostors_above(storage):
    prototypes, embeddings, images = known(storage, "a", [5] * 40)
    threshold = cosine_threshold([calibrate(prototypes, embeddings, 1)])
    unit = {name: unit_rows(rows) for name, rows in images.items()}
    impostors = [
        row @ prototypes.centres[i]
        for name, rows in unit.items()
        for i, other in enumerate(prototypes.identities)
        if other != name
        for row in rows
    ]
    assert np.mean(np.array(impostors) > threshold) == pytest.approx(0.01, abs=0.001)


def test_with_few_comparisons_no_impostor_passes(storage):
    prototypes, embeddings, _ = known(storage, "a", [2, 2, 2])
    got = calibrate(prototypes, embeddings, 1)
    highest = 2 * (np.flatnonzero(got.impostors)[-1] + 1) / 20_000 - 1
    assert cosine_threshold([got]) == pytest.approx((highest + got.own) / 2, abs=1e-6)
    assert highest < cosine_threshold([got]) < got.own


def test_one_person_alone_gives_no_cosine_threshold(storage):
    prototypes, embeddings, _ = known(storage, "alone", [5])
    got = calibrate(prototypes, embeddings, 1)
    with pytest.raises(FindingError, match=r"alone: one known identity with 2 images; expected"):
        cosine_threshold([got])


def test_one_person_beside_a_larger_dataset_is_fine(storage):
    one = known(storage, "alone", [5])
    many = known(storage, "many", [5] * 10, seed=1)
    fits = [calibrate(p, e, 2) for p, e, _ in (one, many)]
    assert cosine_threshold(fits) == pytest.approx(cosine_threshold(fits[1:]), abs=0.02)
    assert fits[0].scale == 64.0


def test_held_out_images_are_distinct_and_spread_over_all_people(storage, monkeypatch):
    monkeypatch.setattr(calibration, "IMAGES", 60)
    prototypes, _, _ = known(storage, "a", [2, 3, 40] * 5 + [1, 1])
    who, rows = held_out(prototypes)
    assert len(set(rows.tolist())) == len(rows) <= 60
    assert set(who.tolist()) == set(range(15))
    for person, row in zip(who, rows, strict=True):
        first, end = prototypes.rows[person], prototypes.rows[person + 1]
        assert row in prototypes.members[first:end]


def test_of_more_people_than_images_some_are_chosen(storage, monkeypatch):
    monkeypatch.setattr(calibration, "IMAGES", 10)
    prototypes, embeddings, _ = known(storage, "a", [2] * 40)
    who, rows = held_out(prototypes)
    assert len(set(who.tolist())) == len(rows) == 10
    assert calibrate(prototypes, embeddings, 1).images == 10


def test_copies_of_people_in_one_dataset_do_not_break_the_fit(storage):
    people = draw_people(40)
    images = {f"p{i}": draw_images(p, 5, i) for i, p in enumerate(people)}
    images |= {f"q{i}": draw_images(people[i], 5, 100 + i) for i in range(4)}
    info = make_people(storage, "a", images)
    embeddings = EmbeddingSet.open(storage, info)
    got = calibrate(make_prototypes(storage, embeddings), embeddings, 1)
    assert got.known > 0.75
    assert cosine_threshold([got]) < 0.6
