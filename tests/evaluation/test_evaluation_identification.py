import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.scored import people_vectors

from fusekit.errors import UsageError
from fusekit.evaluation import identification
from fusekit.evaluation.identification import (
    NEVER,
    Search,
    identify_images,
    nearest_images,
    search_gallery,
)

NEARER = 0.6  # dlib's threshold: nearer than this is one person


def drawn(seed, count, people):
    rng = np.random.default_rng(seed)
    return rng.choice([-1, 1], (count, 4)).astype(np.float32), rng.integers(0, people, count)


def slow_search(probe, person, gallery, people):
    """Rank and score by a dictionary of people; ties against the probe."""
    best = {}
    for vector, name in zip(gallery, people, strict=True):
        best[name] = max(best.get(name, -2.0), float(probe @ vector) / 4)
    rank = sum(s >= best[person] for s in best.values()) if person in best else 0
    return rank, max(best.values())


@given(st.integers(0, 2**32 - 1), st.integers(1, 25), st.integers(1, 25))
def test_ranks_and_scores_are_those_of_a_slow_search(seed, probes, gallery):
    left, left_people = drawn(seed, probes, 5)
    right, right_people = drawn(seed + 1, gallery, 4)
    found = search_gallery(left, left_people, right, right_people)
    slow = [slow_search(p, n, right, right_people) for p, n in zip(left, left_people, strict=True)]
    assert found.rank.tolist() == [rank for rank, _ in slow]
    assert found.top.tolist() == [top for _, top in slow]


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.1, 0.3, 0.5, 1.0]))
def test_tpir_is_the_highest_of_every_threshold_within_the_fpir(seed, fpir):
    rng = np.random.default_rng(seed)
    found = Search(rng.integers(0, 4, 40), rng.integers(0, 12, 40) / 12)
    mated, strange = found.rank > 0, found.rank == 0
    if not mated.any():
        return
    within = [t for t in [*found.top, np.inf] if (found.top[strange] >= t).mean() <= fpir]
    best = max(((found.rank == 1) & (found.top >= t))[mated].mean() for t in within)
    expected = best if strange.sum() * fpir >= 1 else None
    assert found.tpir_at_fpir(fpir) == expected


def test_who_has_no_embedding_is_never_found():
    gallery = np.eye(3, dtype=np.float32)
    probes = np.stack([gallery[0], np.zeros(3, np.float32), gallery[2]])
    gallery[2] = 0
    found = search_gallery(probes, np.arange(3), gallery, np.arange(3))
    assert found.rank.tolist() == [1, NEVER, NEVER]
    assert found.rank_rate(10) == 1 / 3


def test_without_mates_or_strangers_there_is_no_rate():
    assert Search(np.array([0]), np.array([0.5])).rank_rate(1) is None
    assert Search(np.array([1]), np.array([0.5])).tpir_at_fpir(0.1) is None
    about = Search(np.array([1, 2]), np.array([0.5, 0.4])).as_json()
    assert (about["mated"], about["strangers"]) == (2, 0)
    assert (about["rank"], about["tpir"]["0.1"]) == ({"1": 0.5, "5": 1.0, "10": 1.0}, None)
    assert about["few"] == ["0.1", "0.01", "0.001"]


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_a_vote_is_that_of_the_nearest_images_over_the_threshold(seed, neighbours):
    rng = np.random.default_rng(seed)
    gallery = rng.normal(size=(12, 5)).astype(np.float32)
    people, probe = rng.integers(0, 4, 12), rng.normal(size=(1, 5)).astype(np.float32)
    cosines = gallery @ probe[0] / np.linalg.norm(gallery, axis=1) / np.linalg.norm(probe)
    voters = [i for i in np.argsort(-cosines)[:neighbours] if cosines[i] >= 0.2]
    votes = {}
    for i in voters:
        count, best = votes.get(people[i], (0, -2.0))
        votes[people[i]] = (count + 1, max(best, cosines[i]))
    expected = max(votes, key=votes.get) if votes else -1
    (named,) = nearest_images(probe, gallery, neighbours).vote(people, 0.2)
    assert named == expected


def test_blocks_change_nothing(monkeypatch):
    vectors, people = people_vectors(np.random.default_rng(2), 12, 3, 16, 0.7)
    whole = identify_images(vectors, people, 3)
    monkeypatch.setattr(identification, "_CELLS", 100)
    pieces = identify_images(vectors, people, 3)
    assert whole.search.rank.tolist() == pieces.search.rank.tolist()
    assert whole.vote_rates(0.5) == pieces.vote_rates(0.5)


def test_an_image_never_finds_itself_and_people_of_one_image_are_strangers():
    vectors, people = people_vectors(np.random.default_rng(1), 10, 4, 64, 0.6)
    vectors = np.concatenate([vectors, np.random.default_rng(5).normal(size=(6, 64))])
    people = np.concatenate([people, [90, 91, -1, -1, 0, 1]])
    vectors[44:] = 0  # erased
    found = identify_images(vectors.astype(np.float32), people, 3)
    assert found.search.strangers.tolist() == [False] * 40 + [True] * 4
    assert found.search.rank_rate(1) == 1.0
    assert found.search.top.max() < 0.999
    closed, opened = found.vote_rates(), found.vote_rates(0.5)
    assert (closed["right"], closed["named"]) == (1.0, 1.0)
    assert (opened["right"], opened["named"]) == (1.0, 0.0)


def look_alikes(people, images, share, alike):
    """Unit vectors (people, images, D): every genuine pair scores share, every other share * alike.

    Each is its person's direction and a direction that no other image has, which is what a face's
    image is in high dimensions.
    """
    axes = np.eye(1 + people + people * images)
    common, own, noise = axes[0], axes[1 : 1 + people], axes[1 + people :]
    centres = alike**0.5 * common + (1 - alike) ** 0.5 * own
    noise = noise.reshape(people, images, -1)
    return share**0.5 * centres[:, None] + (1 - share) ** 0.5 * noise


def test_people_whom_every_pair_tells_apart_have_means_nearer_than_the_threshold():
    # King's answer: all of A within 0.6 of each other, none of A within 0.6 of B, and yet the
    # means of A and B are.
    a, b = 1.2 * look_alikes(2, 60, share=0.88, alike=0.92)
    within = np.linalg.norm(a[:, None] - a, axis=2)[~np.eye(60, dtype=bool)]
    across = np.linalg.norm(a[:, None] - b, axis=2)
    assert within.max() < NEARER
    assert across.min() > NEARER
    assert np.linalg.norm(a.mean(axis=0) - b.mean(axis=0)) < 0.8 * NEARER


def test_a_threshold_of_pairs_lets_every_stranger_pass_when_it_is_held_against_means():
    faces = look_alikes(12, 20, share=0.68, alike=0.85).astype(np.float32)
    threshold = 0.63  # parts all pairs: genuine ones score 0.68, others 0.578
    gallery, probes, strangers = faces[:6, :19], faces[:6, 19], faces[6:, 0]
    people = np.repeat(np.arange(6), 19)
    images = gallery.reshape(-1, gallery.shape[2])
    assert nearest_images(probes, images, 5).vote(people, threshold).tolist() == list(range(6))
    assert (nearest_images(strangers, images, 5).vote(people, threshold) == -1).all()
    by_means = nearest_images(strangers, gallery.mean(axis=1), 1)
    assert (by_means.vote(np.arange(6), threshold) >= 0).all()


def test_someone_of_two_looks_is_found_by_images_and_lost_by_means():
    looks = np.eye(40)[:3]
    looks[2] = 0.72 * (looks[0] + looks[1]) / 2**0.5 + (1 - 0.72**2) ** 0.5 * looks[2]

    def images(look, first):
        return 0.9 * looks[look] + (1 - 0.81) ** 0.5 * np.eye(40)[first : first + 9]

    # A person with and without a beard, and another whose face lies between the two looks.
    gallery = np.concatenate([images(0, 3), images(1, 12), images(2, 21)]).astype(np.float32)
    people, probe = np.repeat([0, 0, 1], 9), (0.9 * looks[1]).astype(np.float32)[None]
    assert nearest_images(probe, gallery, 5).vote(people).tolist() == [0]
    means = np.stack([gallery[people == person].mean(axis=0) for person in (0, 1)])
    by_images, by_means = (
        nearest_images(probe, kept, 1).scores[0, 0] for kept in (gallery, means[:1])
    )
    assert by_means < 0.75 < 0.89 < by_images


def test_what_is_no_count_of_neighbours_is_refused():
    with pytest.raises(UsageError, match="--neighbours: 0; expected 1 or more"):
        nearest_images(np.ones((1, 2), np.float32), np.ones((1, 2), np.float32), 0)
    with pytest.raises(UsageError, match="--neighbours: 1 images; expected two or more"):
        identify_images(np.ones((1, 2), np.float32), np.array([0]), 1)
