"""Thresholds: a rate asked for is the rate that strangers have, also where it is extrapolated."""

from dataclasses import replace

import numpy as np
import pytest
from support.people import draw_images, draw_people, make_people

from fusekit.curate.templates import make_templates
from fusekit.curate.thresholds import (
    FEW_PAIRS,
    half_scores,
    image_strangers,
    joint_threshold,
    share_above,
    template_strangers,
)
from fusekit.errors import FindingError
from fusekit.store.embeddings import EmbeddingSet
from fusekit.store.layout import open_store

PEOPLE = draw_people(2_000, 64, 1)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    storage = open_store(tmp_path_factory.mktemp("thresholds") / "store", create=True)

    def make(name, numbers, images=4, spread=0.7, repeat=0):
        people = {f"{i:04d}": draw_images(PEOPLE[i], images, i, spread) for i in numbers}
        people |= {
            f"again{i:04d}": draw_images(PEOPLE[i], images, 9_000 + i, spread)
            for i in list(numbers)[:repeat]
        }
        info = make_people(storage, name, people, unit_size=4_096)
        embeddings = EmbeddingSet.open(storage, info)
        return make_templates(storage, embeddings), embeddings

    return make


def strangers_cosines(templates):
    cosines = templates.centres.astype(np.float64) @ templates.centres.T
    return np.sort(cosines[np.triu_indices(len(cosines), 1)])


def share(cosines, threshold):
    return 1 - np.searchsorted(cosines, threshold) / len(cosines)


def test_a_rate_that_can_be_seen_is_the_share_of_strangers_above(made):
    templates, _ = made("seen", range(400))
    found = template_strangers([templates])
    cosines = strangers_cosines(templates)
    assert found.pairs == len(cosines) == 400 * 399 // 2
    for rate in (0.5, 0.1, 0.01, 1e-3):
        assert share(cosines, found.threshold(rate)) == pytest.approx(rate, rel=0.1)


def test_a_rate_that_can_not_be_seen_holds_on_people_that_were_held_out(made):
    few = template_strangers([made("fitted", range(150))[0]])
    cosines = strangers_cosines(made("held-out", range(150, 2_000))[0])
    assert few.seen > 1e-3
    for rate in (1e-4, 1e-5):  # 171 and 17 of the 1.7 million pairs
        assert rate / 5 < share(cosines, few.threshold(rate)) < rate * 5
    assert share(cosines, few.threshold(1e-8)) == 0


def test_thresholds_of_high_cosines_stay_below_one_and_keep_their_rates(made):
    common = 3 * draw_people(1, 64, 9)[0]
    lifted = PEOPLE + common
    lifted /= np.linalg.norm(lifted, axis=1, keepdims=True)
    templates, _ = made("any", range(2))

    def of(numbers):
        people = np.arange(len(numbers), dtype=np.int32)
        return replace(templates, centres=lifted[numbers].astype(np.float32), of_identity=people)

    cosines = strangers_cosines(of(range(300, 2_000)))
    assert np.median(cosines) > 0.85
    for few in (5, 20, 40):
        found = template_strangers([of(range(few))])
        assert cosines[-1] * 0.97 < found.threshold(1e-15) < 1
        assert share(cosines, found.threshold(1e-5)) < 1e-3
    many = template_strangers([of(range(300))])
    for rate in (1e-3, 1e-4, 1e-5):
        assert rate / 5 < share(cosines, many.threshold(rate)) < rate * 5


def test_people_that_a_dataset_holds_twice_hardly_move_its_thresholds(made):
    clean = template_strangers([made("clean", range(300))[0]])
    twice = template_strangers([made("twice", range(300), repeat=6)[0]])
    for rate in (1e-3, 1e-6, 1e-9):
        assert twice.threshold(rate) == pytest.approx(clean.threshold(rate), abs=0.03)


def test_thresholds_rise_as_rates_fall_and_shares_give_the_rate_back(made):
    for name, count in (("many", 300), ("few", 20)):
        found = template_strangers([made(name, range(count))[0]])
        rates = np.geomspace(0.4, 1e-12, 30)
        thresholds = [found.threshold(float(rate)) for rate in rates]
        assert thresholds == sorted(thresholds)
        shares = found.share_above(thresholds)
        np.testing.assert_allclose(np.log(shares), np.log(rates), atol=0.25)
        assert found.share_above([-1.0])[0] == pytest.approx(1, abs=0.3)


def test_few_strangers_give_a_threshold_on_the_safe_side(made):
    cosines = strangers_cosines(made("others", range(150, 2_000))[0])
    for seed in range(6):
        numbers = range(seed * 20, seed * 20 + 14)
        few = template_strangers([made(f"few{seed}", numbers)[0]])
        assert few.pairs < FEW_PAIRS
        assert share(cosines, few.threshold(1e-5)) < 2e-4
        assert few.threshold(1e-6) < 1


def test_between_two_datasets_the_threshold_is_the_one_that_their_strangers_have(made):
    one, _ = made("single", range(600), images=1, spread=1.2)
    many, _ = made("eight", range(600, 1_200), images=8, spread=1.2)
    kinds = [template_strangers([each]) for each in (one, many)]
    across = np.sort((one.centres.astype(np.float64) @ many.centres.T).ravel())
    for rate in (1e-2, 1e-3, 1e-4):
        assert rate / 2 < share(across, joint_threshold(kinds, rate)) < rate * 2
    scores = [0.2, 0.35, 0.45]
    for score, estimate in zip(scores, share_above(kinds, scores), strict=True):
        assert estimate / 3 < share(across, score) < estimate * 3


def test_no_identities_of_one_dataset_are_compared_with_anothers(made):
    templates, _ = made("alone", range(50))
    twice = template_strangers([templates, templates])
    assert twice.pairs == 2 * template_strangers([templates]).pairs
    assert twice.threshold(1e-6) < 0.9  # else everyone would be a stranger to themselves


def test_two_templates_of_one_identity_are_no_strangers(made):
    templates, _ = made("mixed", range(40), images=12)
    whose = templates.of_identity.copy()
    whose[1] = whose[0]
    object.__setattr__(templates, "of_identity", whose)
    assert template_strangers([templates]).pairs == 40 * 39 // 2 - 1


def test_single_images_of_strangers_are_compared(made):
    templates, embeddings = made("images", range(300))
    found = image_strangers([(templates, embeddings)])
    assert found.pairs == 300 * 299 // 2
    # As far out in their own spread as cosines of independent directions are: 1 / sqrt(64).
    assert found.threshold(0.1586) == pytest.approx(1 / 8, abs=0.01)


def test_one_person_scores_high_with_what_was_held_out(made):
    templates, embeddings = made("genuine", range(100), images=9)
    halves = half_scores(templates, embeddings)
    assert len(halves) == 100
    limit = template_strangers([templates]).threshold(1e-6)
    assert (halves > limit).mean() > 0.98
    assert np.median(halves) > 0.6
    alone, vectors = made("ones", range(10), images=1)
    assert len(half_scores(alone, vectors)) == 0


def test_one_identity_shows_no_strangers(made):
    templates, _ = made("one", range(1))
    found = template_strangers([templates])
    assert (found.pairs, found.threshold(0.1)) == (0, -1)
    with pytest.raises(
        FindingError,
        match=r"thresholds: one identity with images, so nobody shows how strangers score; "
        r"expected two or more; name a dataset of more people too",
    ):
        joint_threshold([found, found], 1e-6)
    other = template_strangers([made("help", range(100))[0]])
    assert joint_threshold([found, other], 1e-6) == pytest.approx(other.threshold(1e-6))


def test_equal_scores_everywhere_still_give_a_threshold(made):
    templates, _ = made("equal", range(60))
    same = np.repeat(templates.centres[:1], 60, axis=0)
    object.__setattr__(templates, "centres", same)
    found = template_strangers([templates])
    assert found.threshold(1e-6) == pytest.approx(1, abs=0.01)
    assert found.share_above([0.5])[0] > 0.9
