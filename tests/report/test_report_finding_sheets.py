import dataclasses
import tempfile

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.findings import key, make_datasets, make_finding, make_findings
from support.real_store import copy_store
from typer.testing import CliRunner

from fusekit.cli.main import app
from fusekit.errors import FindingError, UsageError
from fusekit.report.choice import _ends, choose_rows
from fusekit.report.contact_sheet import MARK_COLOURS, draw_evidence, fit_crop
from fusekit.report.evidence import gather_evidence
from fusekit.report.finding_sheets import draw_finding_sheets, write_contact_sheet
from fusekit.store.crops import read_crops
from fusekit.store.findings import SCHEMAS, list_findings, read_finding_table, write_finding
from fusekit.store.layout import open_store

KINDS = ("overlap", "contamination", "label-noise", "duplicates", "clusters", "activation")


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    storage = open_store(tmp_path_factory.mktemp("sheets") / "store", create=True)
    make_datasets(storage)
    return storage


@pytest.fixture(scope="module")
def findings(storage):
    return make_findings(storage)


def evidence_of(storage, finding, most=6, rows=40):
    return gather_evidence(storage, finding, choose_rows(storage, finding, rows).rows, most=most)


def shows(sheet, crop):
    """Whether a sheet shows a crop, pixel for pixel."""
    found = cv2.matchTemplate(sheet[..., 1], crop[..., 1], cv2.TM_SQDIFF_NORMED)
    return float(found.min()) < 1e-5


def test_an_overlap_shows_both_peoples_crops_and_what_speaks_for_it(storage, findings):
    first, second, third = evidence_of(storage, findings["overlap"])
    assert [e.decision for e in (first, second, third)] == ["unsure", "same", "different"]
    assert second.left.title == "people: Ann Lee (ann)"
    assert second.right.title == "stars: x1"
    assert "cosine 0.810" in second.facts
    assert "20 of 25 image pairs agree" in second.facts
    anns = {key("ann", item) for item in range(9)}
    assert {p.key for p in second.left.pictures} < anns
    assert len(second.left.pictures) == 6
    assert len(second.right.pictures) == 5


def test_people_of_a_published_list_are_shown_without_the_other_side(storage, findings):
    first, second = evidence_of(storage, findings["contamination"])
    assert first.facts[0] == "by name and embedding"
    assert first.right.title == "exam: ann_lee"
    assert len(first.right.pictures) == 4
    assert second.right.title == "exam: person not named"
    assert second.right.pictures == ()


def test_label_noise_shows_what_is_flagged_beside_what_is_not(storage, findings):
    ann, bob = evidence_of(storage, findings["label-noise"])
    flagged = {key("ann", 0), key("ann", 1)}
    assert {p.key for p in ann.right.pictures} == flagged
    assert not flagged & {p.key for p in ann.left.pictures}
    assert {p.mark for p in ann.right.pictures} == {"split"}
    assert ann.facts == ("of a second person: 2",)
    assert [p.note for p in bob.right.pictures] == ["Ann Lee 0.30", "outlier 0.10"]


def test_a_group_of_copies_starts_with_the_best(storage, findings):
    first, second = evidence_of(storage, findings["duplicates"])
    assert first.decision == "unsure"
    assert "conflict: different identities" in first.facts
    assert second.left.pictures[0].key == key("ann", 2)
    assert [p.mark for p in second.left.pictures] == ["best", "drop", "drop"]
    assert second.right is None


def test_clusters_come_by_size_with_their_nearest_and_furthest(storage, findings):
    largest, small, alone = evidence_of(storage, findings["clusters"], most=12)
    assert (largest.left.title, alone.left.title) == ("cluster 0", "alone, of no cluster")
    assert largest.facts == ("15 samples", "cosine 0.62 to 0.90")
    shown = [p.key for p in largest.left.pictures]
    assert shown == [key("crawl", i) for i in (*range(6), *range(9, 15))]
    assert len(small.left.pictures) == 3
    assert alone.facts == ()


def test_activations_show_both_sides_of_the_threshold(storage, findings):
    rows = choose_rows(storage, findings["activation"], 4)
    assert rows.total == 20
    assert rows.decisions == {"drop": 2, "keep": 18}
    shown = evidence_of(storage, findings["activation"], rows=4)
    assert [e.decision for e in shown] == ["drop", "drop", "keep", "keep"]
    assert [e.facts[0] for e in shown] == [
        f"activation {i / 19:.3f}" for i in (19, 18, 17, 16)
    ]  # fmt: skip
    assert shown[0].right.title == "people: Ann Lee (ann)"


@pytest.mark.parametrize("kind", KINDS)
def test_a_sheet_shows_the_crops_of_its_rows(storage, findings, kind, tmp_path):
    finding = findings[kind]
    write_contact_sheet(storage, finding, tmp_path / "sheet.png", rows=3)
    sheet = cv2.imread(str(tmp_path / "sheet.png"))[..., ::-1]
    pictures = [
        p
        for evidence in evidence_of(storage, finding, most=5, rows=3)
        for side in (evidence.left, evidence.right)
        if side
        for p in side.pictures[:1]
    ]
    assert pictures
    assert all(shows(np.ascontiguousarray(sheet), p.image) for p in pictures)
    write_contact_sheet(storage, finding, tmp_path / "again.png", rows=3)
    assert (tmp_path / "sheet.png").read_bytes() == (tmp_path / "again.png").read_bytes()


def test_rows_are_spread_over_sheets_with_names_of_their_own(storage, findings):
    finding = findings["overlap"]
    rows = read_finding_table(storage, finding)
    sheets = dict(draw_finding_sheets(storage, finding, rows, rows_a_sheet=2))
    stem = f"overlap-{finding.fingerprint[:12]}"
    assert list(sheets) == [f"{stem}-001", f"{stem}-002"]
    two, one = sheets.values()
    assert two.shape[0] > one.shape[0]
    assert two.dtype == np.uint8
    (ann,) = read_crops(
        storage, "people", [evidence_of(storage, finding)[1].left.pictures[0].key]
    ).values()
    assert shows(two, ann)
    assert not shows(one, ann)


@pytest.mark.parametrize("kind", KINDS)
def test_a_finding_without_rows_gives_a_heading_alone(storage, kind, tmp_path):
    about = {"threshold": 0.5} if kind == "activation" else {}
    finding = make_finding(storage, kind, [], datasets=["people"], empty=kind, **about)
    assert choose_rows(storage, finding, 5).total == 0
    assert list(draw_finding_sheets(storage, finding, read_finding_table(storage, finding))) == []
    write_contact_sheet(storage, finding, tmp_path / "empty.jpg")
    assert cv2.imread(str(tmp_path / "empty.jpg")).shape[0] < 80


def test_people_of_a_dataset_that_is_gone_are_shown_by_name_alone(storage):
    rows = [{
        "key": key("crawl", 1), "activation": 0.99, "cosine": 0.9, "nearest_dataset": "ms1m",
        "nearest_identity": "m.0", "low_quality": "blurred", "duplicate_of": None,
    }]  # fmt: skip
    finding = make_finding(storage, "activation", rows, dataset="crawl", threshold=0.9, head="h")
    (shown,) = evidence_of(storage, finding)
    assert (shown.right.title, shown.right.pictures) == ("ms1m: m.0", ())
    assert "blurred" in shown.facts


def test_erased_rows_are_not_shown(storage):
    row = {
        "dataset_a": "people", "identity_a": "", "identity_index_a": -1, "dataset_b": "stars",
        "identity_b": "x1", "identity_index_b": 0, "score": 0.9, "votes": 0, "compared": 0,
        "margin": None, "name_match": None, "false_match": 0.0, "decision": "same", "cluster": 0,
    }  # fmt: skip
    finding = make_finding(storage, "overlap", [row], datasets=["people", "stars"], blank=True)
    assert evidence_of(storage, finding) == []


def test_without_pictures_no_crop_is_read(storage, findings):
    rows = choose_rows(storage, findings["overlap"], 3).rows
    shown = gather_evidence(storage, findings["overlap"], rows, pictures=False)
    assert len(shown) == 3
    assert not any(e.left.pictures or e.right.pictures for e in shown)


def test_a_kind_without_pictures_is_refused(storage, findings):
    other = dataclasses.replace(findings["overlap"], kind="weather")
    rows = read_finding_table(storage, findings["overlap"])
    with pytest.raises(FindingError, match="weather: is a kind of finding without pictures"):
        gather_evidence(storage, other, rows)


def test_a_sheets_name_must_be_a_pictures(storage, findings, tmp_path):
    with pytest.raises(UsageError, match=r"s\.gif: is no name of a picture; expected one that"):
        write_contact_sheet(storage, findings["overlap"], tmp_path / "s.gif")


@pytest.mark.parametrize(
    "line", ["filter crawl --against people", "overlap people stars", "clean people",
             "dedup people", "cluster crawl", "decontaminate people --against exam"],
)  # fmt: skip
def test_every_command_refuses_a_bad_name_before_it_works(storage, line):
    words = [*line.split(), "--contact-sheet", "sheet.txt", "--store", str(storage.root)]
    result = CliRunner().invoke(app, words)
    assert isinstance(result.exception, UsageError)
    assert "sheet.txt: is no name of a picture" in str(result.exception)


def test_a_damaged_table_is_named(storage, tmp_path):
    finding = make_finding(storage, "overlap", [], datasets=["people", "stars"], broken=1)
    table = storage.path(f"findings/overlap/{finding.fingerprint}/table.parquet")
    table.write_bytes(b"no table")
    with pytest.raises(FindingError, match=r"table\.parquet: is missing or damaged"):
        write_contact_sheet(storage, finding, tmp_path / "s.png")


def test_every_decision_and_flag_has_a_colour():
    words = {"same", "different", "unsure", "drop", "keep", "outlier", "split", "mislabeled"}
    assert words < set(MARK_COLOURS)


@pytest.mark.parametrize(
    ("size", "fitted"),
    [((150, 150), (112, 112)), ((112, 96), (112, 96)), ((40, 56), (80, 112))],
)
def test_crops_of_any_size_fit_a_place(size, fitted):
    assert fit_crop(np.zeros((*size, 3), np.uint8), 112).shape == (*fitted, 3)


def test_no_rows_draw_a_heading():
    assert draw_evidence([], "nothing").shape[0] < 80


@given(st.lists(st.integers(0, 4), max_size=60))
def test_the_ends_of_runs_are_the_first_and_last_six(numbers):
    groups = sorted(numbers)
    wanted = []
    for number in sorted(set(groups)):
        run = [number] * groups.count(number)
        wanted += [at < 6 or at >= len(run) - 6 for at in range(len(run))]
    assert _ends(np.array(groups, np.int64)).tolist() == wanted


@given(st.lists(st.tuples(st.sampled_from(["same", "unsure", "different"]), st.integers(0, 20)),
                min_size=1, max_size=12), st.integers(1, 12))  # fmt: skip
def test_the_rows_chosen_are_the_most_urgent(drawn, most):
    with tempfile.TemporaryDirectory() as folder:
        storage = open_store(f"{folder}/s", create=True)
        rows = [
            {
                "dataset_a": "a", "identity_a": str(i), "identity_index_a": i, "dataset_b": "b",
                "identity_b": str(i), "identity_index_b": i, "score": score / 20, "votes": 0,
                "compared": 0, "margin": None, "name_match": None, "false_match": 0.0,
                "decision": decision, "cluster": -1,
            }
            for i, (decision, score) in enumerate(drawn)
        ]  # fmt: skip
        about = {"datasets": ["a", "b"], "inputs": {}}
        finding = write_finding(storage, "overlap", about, rows, SCHEMAS["overlap"])
        chosen = choose_rows(storage, finding, most)
    urgency = {"unsure": 0, "same": 1, "different": 2}
    order = sorted(range(len(drawn)), key=lambda i: (urgency[drawn[i][0]], drawn[i][1], i))
    assert chosen.rows["identity_index_a"].to_pylist() == order[:most]
    assert chosen.total == len(drawn)


@pytest.mark.shared
def test_the_mixed_class_of_glint_comes_first_on_its_sheet(real_store, tmp_path):
    store = copy_store(real_store, tmp_path / "store")
    words = ["clean", "glint", "--contact-sheet", str(tmp_path / "c.png"), "--store", str(store)]
    result = CliRunner().invoke(app, words)
    assert result.exception is None, result.output
    storage = open_store(store)
    (finding,) = list_findings(storage, "label-noise")
    first = evidence_of(storage, finding)[0]
    assert "Gwyneth Paltrow" in first.left.title
    assert cv2.imread(str(tmp_path / "c.png")).shape[1] > 1000
