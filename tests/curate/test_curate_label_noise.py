"""Label noise: strangers, second people and other people's samples are flagged, and no others."""

import json

import numpy as np
import pytest
from support.people import draw_images, draw_people, make_people
from typer.testing import CliRunner

from fusekit.cli.main import app
from fusekit.curate import dominant, noise_flags
from fusekit.curate.label_noise import find_label_noise
from fusekit.errors import FindingError, UsageError
from fusekit.store.findings import find_fresh, read_finding_table
from fusekit.store.layout import open_store, sample_key

PEOPLE = draw_people(120, dim=128)
COUNT = 40


@pytest.fixture
def storage(tmp_path):
    return open_store(tmp_path / "store", create=True)


def clean_people(images=10):
    return {f"p{i:02d}": draw_images(PEOPLE[i], images, i) for i in range(COUNT)}


def with_more(people, identity, more):
    return people | {identity: np.concatenate([people[identity], more])}


def strangers(first, count):
    return np.concatenate(
        [draw_images(PEOPLE[COUNT + first + i], 1, 900 + i) for i in range(count)]
    )


def clean(storage, people, name="faces", **settings):
    """The result, and the finding's rows by (identity, image number inside it)."""
    make_people(storage, name, people)
    result = find_label_noise(name, store=storage.root, **settings)
    return result, rows_of(storage, result, people)


def rows_of(storage, result, people):
    finding = find_fresh(storage, "label-noise", datasets=[result.dataset])
    table = read_finding_table(storage, finding).to_pylist()
    image, item = {}, 0
    for identity, outputs in people.items():
        for number in range(len(outputs)):
            image[sample_key(f"{identity}/{item:05d}.jpg", 0)] = (identity, number)
            item += 1
    assert all(image[row["key"]][0] == row["identity"] for row in table)
    assert len(table) == result.dropped + result.unsure
    return {image[row["key"]]: row for row in table}


def test_a_clean_dataset_has_no_noise(storage):
    result, rows = clean(storage, clean_people())
    assert rows == {}
    assert (result.outliers, result.split, result.mislabeled) == (0, (), 0)
    assert (result.samples, result.identities, result.warnings) == (400, 40, ())


def test_strangers_in_an_identity_are_outliers_and_dropped(storage):
    people = with_more(clean_people(), "p03", strangers(0, 2))
    result, rows = clean(storage, people)
    assert set(rows) == {("p03", 10), ("p03", 11)}
    assert {(r["flag"], r["cluster"], r["decision"]) for r in rows.values()} == {
        ("outlier", -1, "drop")
    }
    assert (result.outliers, result.dropped, result.unsure) == (2, 2, 0)
    assert [(n.identity, n.samples, n.outliers) for n in result.noisy] == [("p03", 12, 2)]


def test_a_sample_of_another_identity_is_mislabeled_and_says_whose_it_is(storage):
    people = with_more(clean_people(), "p03", draw_images(PEOPLE[7], 1, 77))
    result, rows = clean(storage, people)
    row = rows.pop(("p03", 10))
    assert not rows
    assert (row["flag"], row["nearest_identity"], row["decision"]) == ("mislabeled", "p07", "drop")
    assert row["score"] < 0.3 < 0.6 < row["nearest_score"] <= 1
    assert (result.mislabeled, result.outliers) == (1, 0)


def test_two_people_in_one_identity_are_split_and_the_smaller_part_is_flagged(storage):
    people = with_more(clean_people(), "p05", draw_images(PEOPLE[60], 6, 60))
    result, rows = clean(storage, people)
    assert set(rows) == {("p05", number) for number in range(10, 16)}
    assert {(r["flag"], r["cluster"], r["decision"]) for r in rows.values()} == {
        ("split", 1, "drop")
    }
    assert (result.split, result.split_samples, result.outliers) == (("p05",), 6, 0)


def test_a_stranger_among_three_does_not_vouch_for_itself(storage):
    people = clean_people() | {
        "few": np.concatenate([draw_images(PEOPLE[70], 2, 1), strangers(40, 1)])
    }
    _, rows = clean(storage, people)
    # Two of three are no majority large enough to drop anybody.
    assert [(k, r["flag"], r["decision"]) for k, r in rows.items()] == [
        (("few", 2), "outlier", "unsure")
    ]


def test_of_two_that_disagree_both_are_unsure_and_a_single_one_is_never_flagged(storage):
    people = clean_people() | {"two": strangers(40, 2), "one": strangers(50, 1)}
    result, rows = clean(storage, people)
    assert {k: (r["flag"], r["decision"]) for k, r in rows.items()} == {
        ("two", 0): ("outlier", "unsure"),
        ("two", 1): ("outlier", "unsure"),
    }
    assert result.warnings == ("1 identities have a single image and can't be told",)


def test_a_person_under_two_identities_is_no_noise(storage):
    people = clean_people() | {"again": draw_images(PEOPLE[4], 10, 400)}
    _, rows = clean(storage, people)
    assert rows == {}


def test_faces_turned_far_away_are_left_to_a_person(storage, monkeypatch):
    people = with_more(clean_people(), "p03", strangers(0, 1))
    people = with_more(people, "p09", draw_images(PEOPLE[7], 1, 77))
    monkeypatch.setattr(noise_flags, "TURNED_DEGREES", -1.0)
    _, rows = clean(storage, people)
    assert {r["flag"]: r["decision"] for r in rows.values()} == {
        "outlier": "unsure", "mislabeled": "drop"
    }  # fmt: skip


def test_with_few_identities_nothing_is_dropped(storage):
    people = {f"p{i:02d}": draw_images(PEOPLE[i], 10, i) for i in range(12)}
    result, rows = clean(storage, with_more(people, "p03", strangers(0, 1)))
    assert rows[("p03", 10)]["decision"] == "unsure"
    assert result.dropped == 0
    assert result.warnings[0].startswith("12 identities are few: with fewer than 30")


def test_erased_samples_do_not_count(storage):
    people = with_more(clean_people(), "p03", np.zeros((2, 128), np.float32))
    result, rows = clean(storage, people)
    assert rows == {}
    assert result.samples == 400


def test_the_finding_does_not_depend_on_how_many_identities_are_held_at_once(storage, monkeypatch):
    people = with_more(clean_people(), "p03", strangers(0, 2))
    people = with_more(people, "p05", draw_images(PEOPLE[60], 6, 60))
    whole, rows = clean(storage, people)
    monkeypatch.setattr(dominant, "_ROWS", 25)
    monkeypatch.setattr(noise_flags, "_BLOCK", 3)
    again = find_label_noise("faces", store=storage.root)
    assert again.finding == whole.finding
    assert rows_of(storage, again, people) == rows


def test_a_smaller_rate_flags_more_and_is_another_finding(storage):
    people = {f"p{i:02d}": draw_images(PEOPLE[i], 10, i, 2.0) for i in range(COUNT)}
    make_people(storage, "faces", people)
    results = [find_label_noise("faces", false_match=r, store=storage.root) for r in (1e-4, 1e-2)]
    assert results[0].outliers > results[1].outliers > 0
    assert results[0].finding != results[1].finding


def test_json_has_the_names_that_others_script_against(storage):
    people = with_more(clean_people(), "p05", draw_images(PEOPLE[60], 6, 60))
    make_people(storage, "faces", with_more(people, "p03", strangers(0, 1)))
    shown = CliRunner().invoke(app, ["clean", "faces", "--json", "--store", str(storage.root)])
    about = json.loads(shown.stdout.splitlines()[-1])
    assert (about["outliers"], about["split"], about["mislabeled"]) == (1, ["p05"], 0)


def test_the_command_shows_the_worst_identities(storage):
    make_people(storage, "faces", with_more(clean_people(), "p03", strangers(0, 2)))
    shown = CliRunner().invoke(app, ["clean", "faces", "--store", str(storage.root)])
    lines = shown.stdout.splitlines()
    assert "outliers    2" in lines
    assert lines[-1].split() == ["p03", "-", "12", "2", "0", "0", "2"]


def test_a_dataset_without_identities_is_refused(storage):
    make_people(storage, "crawl", strangers(0, 5))
    with pytest.raises(
        UsageError, match=r"^crawl: is unlabeled and has no identities; expected a dataset with"
    ):
        find_label_noise("crawl", store=storage.root)


@pytest.mark.parametrize("rate", [0, 0.2, float("nan")])
def test_a_rate_that_can_not_be_is_refused(storage, rate):
    make_people(storage, "faces", clean_people(2))
    with pytest.raises(UsageError, match=r"--false-match: .*over 0, at most 0\.1"):
        find_label_noise("faces", false_match=rate, store=storage.root)


def test_one_identity_shows_no_strangers(storage):
    make_people(storage, "faces", {"only": draw_images(PEOPLE[0], 5, 0)})
    with pytest.raises(FindingError, match="faces: 1 identities have images"):
        find_label_noise("faces", store=storage.root)
