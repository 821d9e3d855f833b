"""Review: a person's decisions come back as a finding that takes the old one's place."""

import csv
import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.stores import make_dataset
from typer.testing import CliRunner

from fusekit.cli.main import app
from fusekit.curate.review import apply_review
from fusekit.errors import FindingError, UsageError
from fusekit.faces.image import decode_image
from fusekit.report.review_folder import export_review
from fusekit.schema import (
    ACTIVATIONS_SCHEMA,
    CONTAMINATION_SCHEMA,
    DUPLICATES_SCHEMA,
    LABEL_NOISE_SCHEMA,
    OVERLAP_SCHEMA,
)
from fusekit.store.datasets import open_dataset
from fusekit.store.decisions import decisions_csv, read_decisions
from fusekit.store.findings import (
    Finding,
    find_fresh,
    list_findings,
    read_finding_table,
    write_finding,
)
from fusekit.store.layout import open_store
from fusekit.store.reviews import find_reviewable, list_reviewable
from fusekit.store.sql import query

PEOPLE = {"ann": 3, "bob": 2, "cat": 2, "=1+1": 2}
ORDER = sorted(PEOPLE, key=str.encode)


@pytest.fixture
def storage(tmp_path):
    storage = open_store(tmp_path / "store", create=True)
    for seed, name in enumerate(("one", "two", "three")):
        make_dataset(storage, name, PEOPLE, seed=seed, unit_size=64)
    make_dataset(storage, "exam", PEOPLE, kind="evaluation", seed=9, unit_size=64)
    return storage


def about(storage, *datasets):
    inputs = {name: open_dataset(storage, name).fingerprint for name in datasets}
    return {"datasets": list(datasets), "inputs": inputs}


def pair(a, b, decision, score=0.5, cluster=-1):
    (set_a, who_a), (set_b, who_b) = a, b
    return {
        "dataset_a": set_a, "identity_a": who_a, "identity_index_a": ORDER.index(who_a),
        "dataset_b": set_b, "identity_b": who_b, "identity_index_b": ORDER.index(who_b),
        "score": score, "votes": 3, "compared": 9, "margin": None, "name_match": None,
        "false_match": 1e-9, "decision": decision, "cluster": cluster,
    }  # fmt: skip


def overlap(storage, *rows):
    made = about(storage, "one", "two", "three")
    return write_finding(storage, "overlap", made, list(rows), OVERLAP_SCHEMA)


def contamination(storage, decisions):
    rows = [
        {
            "dataset": "one", "identity": who, "identity_index": ORDER.index(who),
            "evaluation": "exam", "evaluation_identity": who, "reason": "name", "score": 0.25,
            "votes": 0, "compared": 4, "name_match": True, "decision": decision,
        }
        for who, decision in zip(ORDER, decisions, strict=False)
    ]  # fmt: skip
    made = {**about(storage, "one"), "against": ["exam"]}
    return write_finding(storage, "contamination", made, rows, CONTAMINATION_SCHEMA)


def fill_in(folder, answers):
    """Write decisions into a review's file as a person does; give its path."""
    file = folder / "decisions.csv"
    rows = list(csv.DictReader(io.StringIO(file.read_text("utf-8-sig"))))
    for row in rows:
        row["decision"] = answers.get(int(row["row"]), row["decision"])
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0].keys())
    writer.writeheader()
    writer.writerows(rows)
    file.write_text(out.getvalue(), "utf-8")
    return file


def decisions_of(storage, fingerprint):
    finding = find_reviewable(storage, fingerprint)
    assert finding.fingerprint == fingerprint
    return read_finding_table(storage, finding).column("decision").to_pylist()


def test_the_unsure_rows_are_laid_out_with_their_pictures(storage, tmp_path):
    made = contamination(storage, ["unsure", "same", "unsure", "unsure"])
    folder = tmp_path / "review"
    result = export_review("contamination", out=folder, store=storage.root)
    assert (result.finding, result.rows, result.sheets) == (made.fingerprint, 3, 1)
    assert result.answers == ("same", "different", "unsure")
    rows = list(csv.DictReader(io.StringIO((folder / "decisions.csv").read_text("utf-8-sig"))))
    assert [int(row["row"]) for row in rows] == [0, 2, 3]
    assert [row["proposed"] for row in rows] == ["unsure"] * 3
    assert [row["decision"] for row in rows] == [""] * 3
    assert {row["finding"] for row in rows} == {f"contamination-{made.fingerprint[:16]}"}
    (sheet,) = {row["sheet"] for row in rows}
    assert sorted(p.name for p in folder.iterdir()) == [sheet, "decisions.csv"]
    assert decode_image((folder / sheet).read_bytes(), sheet).std() > 10


def test_all_rows_are_laid_out_on_request_over_several_sheets(storage, tmp_path):
    rows = [pair(("one", a), ("two", b), "same") for a in ORDER for b in ORDER]
    rows += [pair(("one", a), ("three", b), "unsure") for a in ORDER for b in ORDER]
    overlap(storage, *rows)
    result = export_review("overlap", out=tmp_path / "all", every=True, store=storage.root)
    assert (result.rows, result.sheets) == (32, 2)
    text = (tmp_path / "all/decisions.csv").read_text("utf-8-sig")
    found = [(int(r["row"]), r["sheet"][-7:]) for r in csv.DictReader(io.StringIO(text))]
    assert found == [(i, "001.png" if i < 20 else "002.png") for i in range(32)]


def test_a_text_that_a_spreadsheet_would_run_is_written_as_text(storage, tmp_path):
    contamination(storage, ["unsure"] * 4)
    export_review("contamination", out=tmp_path / "review", store=storage.root)
    assert ",'=1+1," in (tmp_path / "review/decisions.csv").read_text("utf-8-sig")


def test_copies_are_shown_with_their_group_and_only_the_unsure_stand_in_the_file(storage, tmp_path):
    keys = [
        r["key"] for r in query("select key from samples order by key", storage.root).to_pylist()
    ]
    rows = [
        {
            "group": group, "dataset": "one", "key": key, "identity": "ann", "match": "near",
            "distance": 2, "cosine": 0.5, "quality": 0.5, "best": best, "conflict": False,
            "decision": decision,
        }
        for key, group, best, decision in zip(
            keys, (0, 0, 1, 1), (True, False) * 2, ("keep", "drop", "keep", "unsure"), strict=False
        )
    ]  # fmt: skip
    write_finding(storage, "duplicates", about(storage, "one"), rows, DUPLICATES_SCHEMA)
    result = export_review("duplicates", out=tmp_path / "review", store=storage.root)
    assert (result.rows, result.sheets, result.answers) == (1, 1, ("keep", "drop", "unsure"))
    applied = apply_review(
        "duplicates", fill_in(tmp_path / "review", {3: "drop"}), by="me", store=storage.root
    )
    assert decisions_of(storage, applied.finding) == ["keep", "drop", "keep", "drop"]


def test_decisions_make_a_finding_that_recipes_take_instead(storage, tmp_path):
    old = contamination(storage, ["unsure", "same", "unsure", "unsure"])
    export_review("contamination", out=tmp_path / "review", store=storage.root)
    file = fill_in(tmp_path / "review", {0: "same", 3: "different"})
    result = apply_review("contamination", file, by="Jo", store=storage.root)
    assert (result.supersedes, result.decided, result.left) == (old.fingerprint, 2, 1)
    fresh = find_fresh(storage, "contamination", datasets=["one"])
    assert fresh.fingerprint == result.finding != old.fingerprint
    assert fresh.about["supersedes"] == old.fingerprint
    assert {k: v for k, v in fresh.about.items() if k in old.about} == old.about
    assert fresh.review == {"by": "Jo", "at": result.at}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", result.at)
    new, was = (read_finding_table(storage, f) for f in (fresh, old))
    assert new.column("decision").to_pylist() == ["same", "same", "unsure", "different"]
    assert new.drop_columns(["decision"]).equals(was.drop_columns(["decision"]))
    # The old one stands as it was.
    assert was.column("decision").to_pylist() == ["unsure", "same", "unsure", "unsure"]


def test_a_review_done_in_parts_goes_on_from_what_it_gave_before(storage, tmp_path):
    old = contamination(storage, ["unsure"] * 4)
    export_review("contamination", out=tmp_path / "review", store=storage.root)
    first = apply_review(
        "contamination", fill_in(tmp_path / "review", {0: "same"}), store=storage.root
    )
    # The same file, filled in further, and the old finding's own digits.
    file = fill_in(tmp_path / "review", {1: "different"})
    second = apply_review(old.fingerprint[:8], file, store=storage.root)
    assert (second.supersedes, second.decided, second.left) == (first.finding, 1, 2)
    assert decisions_of(storage, second.finding) == ["same", "different", "unsure", "unsure"]
    # A person may change their mind, and a new file names the newest finding.
    export_review("contamination", out=tmp_path / "more", every=True, store=storage.root)
    file = fill_in(tmp_path / "more", {0: "unsure", 2: "same", 3: "same"})
    third = apply_review(first.finding[:10], file, store=storage.root)
    assert (third.decided, third.left) == (3, 1)
    assert find_fresh(storage, "contamination", datasets=["one"]).fingerprint == third.finding
    assert len(list_findings(storage, "contamination")) == 4


def test_decisions_that_change_nothing_write_nothing(storage, tmp_path):
    old = contamination(storage, ["same", "unsure"])
    export_review("contamination", out=tmp_path / "review", store=storage.root)
    file = fill_in(tmp_path / "review", {1: "unsure"})
    result = apply_review("contamination", file, store=storage.root)
    assert (result.finding, result.supersedes, result.decided) == (old.fingerprint, None, 0)
    assert list_findings(storage) == [old]


def test_the_same_review_again_gives_the_same_finding(storage, tmp_path):
    contamination(storage, ["unsure"] * 3)
    export_review("contamination", out=tmp_path / "review", store=storage.root)
    file = fill_in(tmp_path / "review", {0: "same"})
    first = apply_review("contamination", file, by="Jo", store=storage.root)
    again = apply_review("contamination", file, by="Flo", store=storage.root)
    assert (again.finding, again.decided) == (first.finding, 0)
    assert find_reviewable(storage, "contamination").review["by"] == "Jo"


def test_label_noise_is_kept_or_dropped(storage, tmp_path):
    keys = query("select key from samples where dataset = 'one' order by key", storage.root)
    rows = [
        {
            "key": key, "identity": "ann", "identity_index": ORDER.index("ann"), "flag": "outlier",
            "cluster": -1, "score": 0.1, "nearest_identity": None, "nearest_score": None,
            "decision": "unsure",
        }
        for key in keys.column("key").to_pylist()[:2]
    ]  # fmt: skip
    write_finding(storage, "label-noise", about(storage, "one"), rows, LABEL_NOISE_SCHEMA)
    export_review("label-noise", out=tmp_path / "review", store=storage.root)
    file = fill_in(tmp_path / "review", {0: "drop", 1: "KEEP "})
    result = apply_review("label-noise", file, store=storage.root)
    assert decisions_of(storage, result.finding) == ["drop", "keep"]


def reviewed(storage, tmp_path, answers, *rows):
    overlap(storage, *rows)
    export_review("overlap", out=tmp_path / "review", every=True, store=storage.root)
    result = apply_review("overlap", fill_in(tmp_path / "review", answers), store=storage.root)
    table = read_finding_table(storage, find_reviewable(storage, "overlap"))
    return result, [(row["decision"], row["cluster"]) for row in table.to_pylist()]


def test_an_overlap_s_people_are_joined_anew(storage, tmp_path):
    result, rows = reviewed(
        storage, tmp_path, {0: "different", 1: "same", 3: "same"},
        pair(("one", "ann"), ("two", "ann"), "same", 0.9, cluster=0),
        pair(("one", "bob"), ("two", "bob"), "unsure"),
        pair(("one", "cat"), ("two", "cat"), "same", 0.8, cluster=1),
        pair(("one", "cat"), ("three", "cat"), "unsure"),
    )  # fmt: skip
    assert rows == [("different", -1), ("same", 0), ("same", 1), ("same", 1)]
    assert (result.decided, result.left, result.contested) == (3, 0, 0)


def test_a_person_s_word_breaks_a_chain(storage, tmp_path):
    """Ann of one and of three differ, so that two's can be only one of them: the stronger."""
    result, rows = reviewed(
        storage, tmp_path, {2: "different"},
        pair(("one", "ann"), ("two", "ann"), "same", 0.9, cluster=0),
        pair(("two", "ann"), ("three", "ann"), "same", 0.7, cluster=0),
        pair(("one", "ann"), ("three", "ann"), "unsure"),
    )  # fmt: skip
    assert rows == [("same", 0), ("unsure", -1), ("different", -1)]
    assert (result.contested, result.left) == (1, 1)


def test_a_person_s_link_comes_before_a_stronger_one_of_the_machine(storage, tmp_path):
    result, rows = reviewed(
        storage, tmp_path, {1: "same", 2: "different"},
        pair(("one", "ann"), ("two", "ann"), "same", 0.95, cluster=0),
        pair(("two", "ann"), ("three", "ann"), "unsure", 0.3),
        pair(("one", "ann"), ("three", "ann"), "unsure"),
    )  # fmt: skip
    assert rows == [("unsure", -1), ("same", 0), ("different", -1)]
    assert result.contested == 1


def test_a_person_who_contradicts_themselves_is_told_and_keeps_their_words(storage, tmp_path):
    result, rows = reviewed(
        storage, tmp_path, {0: "same", 1: "same", 2: "different"},
        pair(("one", "ann"), ("two", "ann"), "unsure", 0.5),
        pair(("two", "ann"), ("three", "ann"), "unsure", 0.4),
        pair(("one", "ann"), ("three", "ann"), "unsure", 0.3),
    )  # fmt: skip
    assert rows == [("same", 0), ("same", -1), ("different", -1)]
    assert result.contested == 1


def test_an_earlier_review_s_words_outrank_the_machine_in_a_later_one(storage, tmp_path):
    overlap(
        storage,
        pair(("one", "ann"), ("two", "ann"), "same", 0.95, cluster=0),
        pair(("two", "ann"), ("three", "ann"), "unsure", 0.3),
        pair(("one", "ann"), ("three", "ann"), "unsure"),
    )
    for answers in ({1: "same"}, {2: "different"}):
        export_review("overlap", out=tmp_path / str(len(answers)) / str(answers), every=True,
                      store=storage.root)  # fmt: skip
        file = fill_in(tmp_path / str(len(answers)) / str(answers), answers)
        apply_review("overlap", file, store=storage.root)
    table = read_finding_table(storage, find_reviewable(storage, "overlap"))
    assert table.column("decision").to_pylist() == ["unsure", "same", "different"]
    assert table.column("cluster").to_pylist() == [-1, 0, -1]


SAVED = {
    "as written": lambda t: t.encode("utf-8-sig"),
    "semicolons": lambda t: t.replace(",", ";").encode("utf-8-sig"),
    "tabs in UTF-16": lambda t: t.replace(",", "\t").encode("utf-16"),
    "sep= above": lambda t: ("sep=;\r\n" + t.replace(",", ";")).encode(),
    "bare line ends": lambda t: t.replace("\r\n", "\n").encode(),
    "empty rows below": lambda t: (t + ",,,,,,\r\n\r\n").encode(),
    "a Windows code page": lambda t: t.replace("ann", "Ünn").encode("cp1252"),
    "upper case": lambda t: t.replace("same", "Same ").replace("decision", "Decision").encode(),
    "other columns gone": lambda t: "\r\n".join(
        ",".join(line.split(",")[i] for i in (3, 1, 0)) for line in t.split("\r\n")[:-1]
    ).encode(),
}  # fmt: skip


@pytest.mark.parametrize("form", SAVED)
def test_a_file_saved_by_a_spreadsheet_is_read(tmp_path, form):
    finding = Finding("contamination", "ab" * 32, {})
    text = "finding,row,identity,decision\r\n"
    text += "".join(
        f"contamination-{'ab' * 8},{row},ann,{word}\r\n" for row, word in ((2, "same"), (0, ""))
    )
    file = tmp_path / "decisions.csv"
    file.write_bytes(SAVED[form](text))
    found = read_decisions(file, finding, ["ab" * 32], 3)
    assert (found.rows, found.lines) == ({2: "same"}, 2)


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)


@given(st.lists(TEXTS, min_size=1, max_size=5))
def test_any_identity_survives_the_file(tmp_path_factory, identities):
    finding = Finding("contamination", "cd" * 32, {})
    values = [{"identity": text, "decision": "unsure"} for text in identities]
    data = decisions_csv(
        finding, [(i, v, "s.png") for i, v in enumerate(values)], ["identity", "decision"]
    )
    rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    for row, identity in zip(rows, identities, strict=True):
        assert row["identity"] in (identity, f"'{identity}")
        assert not row["identity"].startswith(("=", "+", "-", "@"))
    file = tmp_path_factory.mktemp("csv") / "decisions.csv"
    file.write_bytes(data.replace(b"s.png,", b"s.png,same"))
    assert read_decisions(file, finding, ["cd" * 32], 9).rows == dict.fromkeys(
        range(len(identities)), "same"
    )


NAME = f"contamination-{'ab' * 8}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("finding,row\n", "FILE: has not one column 'decision'; expected finding, row, decision; "
         "fill in the file that fusekit review writes"),
        ("", "FILE: has not one column 'finding'; expected finding, row, decision; "
         "fill in the file that fusekit review writes"),
        ("finding,row,decision,decision\n", "FILE: has not one column 'decision'; expected "
         "finding, row, decision; fill in the file that fusekit review writes"),
        (f"finding,row,decision\n{NAME},0,same\noverlap-12,1,same\n",
         f"FILE:3: is of the finding overlap-12; expected {NAME}"),
        ("finding,row,decision\n,0,same\n",
         f"FILE:2: is of the finding (none); expected {NAME}"),
        (f"finding,row,decision\n{NAME},3,same\n",
         "FILE:2: row '3'; expected a number from 0 to 2"),
        (f"finding,row,decision\n{NAME},-1,same\n",
         "FILE:2: row '-1'; expected a number from 0 to 2"),
        (f"finding,row,decision\n{NAME},one,\n",
         "FILE:2: row 'one'; expected a number from 0 to 2"),
        (f"finding,row,decision\n{NAME},1,same\n{NAME},1,\n",
         "FILE:3: row 1 again; expected once, as on line 2"),
        (f"sep=,\nfinding,row,decision\n{NAME},1,keep\n",
         "FILE:3: decision 'keep'; expected same, different, unsure or nothing"),
        ("finding,row,decision\n" + "x" * 200_000 + ",1,same\n",
         "FILE:2: is no CSV (field larger than field limit (131072)); expected the file as it "
         "was written"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_as_it_was_written_is_refused(tmp_path, text, message):
    file = tmp_path / "decisions.csv"
    file.write_text(text)
    with pytest.raises(FindingError) as refused:
        read_decisions(file, Finding("contamination", "ab" * 32, {}), ["ab" * 32], 3)
    assert str(refused.value).replace(str(file), "FILE") == message


def test_a_file_that_is_not_there_is_told(storage, tmp_path):
    contamination(storage, ["unsure"])
    with pytest.raises(FindingError, match=r"gone\.csv: can't be read \(No such file"):
        apply_review("contamination", tmp_path / "gone.csv", store=storage.root)


def test_a_file_that_decides_nothing_is_told(storage, tmp_path):
    contamination(storage, ["unsure"])
    export_review("contamination", out=tmp_path / "review", store=storage.root)
    with pytest.raises(FindingError, match=r"decisions\.csv: decides nothing; expected an answer"):
        apply_review("contamination", tmp_path / "review/decisions.csv", store=storage.root)
    assert len(list_findings(storage)) == 1


def test_who_decided_must_be_known(storage, tmp_path, monkeypatch):
    contamination(storage, ["unsure"])
    export_review("contamination", out=tmp_path / "review", store=storage.root)
    file = fill_in(tmp_path / "review", {0: "same"})
    with pytest.raises(UsageError, match=r"--by: nobody is named; expected who decided"):
        apply_review("contamination", file, by=" ", store=storage.root)

    def nobody():
        raise KeyError("uid not found")

    monkeypatch.setattr("getpass.getuser", nobody)
    with pytest.raises(UsageError, match=r"--by: nobody is named"):
        apply_review("contamination", file, store=storage.root)
    assert apply_review("contamination", file, by="Jo", store=storage.root).by == "Jo"


def test_a_finding_is_named_by_digits_kind_or_both(storage):
    first = contamination(storage, ["unsure"])
    second = overlap(storage, pair(("one", "ann"), ("two", "ann"), "unsure"))
    for name in ("contamination", first.fingerprint[:8], f"contamination-{first.fingerprint[:5]}"):
        assert find_reviewable(storage, name) == first
    assert [each.finding for each in list_reviewable(storage)] == [first, second]


def test_a_finding_that_is_not_there_or_not_one_is_told(storage):
    with pytest.raises(FindingError) as refused:
        find_reviewable(storage, "overlap")
    assert str(refused.value) == (
        "overlap: no finding has this kind or these first digits; fusekit review lists them"
    )
    first = contamination(storage, ["unsure"])
    made = {**about(storage, "one"), "against": ["exam"], "false_match": 0.001}
    second = write_finding(storage, "contamination", made, [], CONTAMINATION_SCHEMA)
    prefixes = sorted(f.fingerprint[:12] for f in (first, second))
    with pytest.raises(FindingError, match=f"2 findings: contamination-{prefixes[0]} of one"):
        find_reviewable(storage, "contamination")
    with pytest.raises(FindingError, match=f"one of contamination-{prefixes[0]} of one"):
        find_reviewable(storage, "zzz")


def test_a_kind_without_decisions_is_refused(storage):
    write_finding(storage, "activation", about(storage, "one"), [], ACTIVATIONS_SCHEMA)
    with pytest.raises(FindingError, match="activation findings have no decisions; expected"):
        find_reviewable(storage, "activation")
    assert list_reviewable(storage) == []


def test_a_stale_finding_is_not_reviewed(storage, tmp_path):
    made = {"datasets": ["one"], "inputs": {"one": "0" * 64}, "against": ["exam"]}
    old = write_finding(storage, "contamination", made, [], CONTAMINATION_SCHEMA)
    message = (
        f"contamination-{old.fingerprint[:12]}: is stale: one has fingerprint .*; make it again"
    )
    with pytest.raises(FindingError, match=message):
        export_review("contamination", out=tmp_path / "review", store=storage.root)
    (listed,) = list_reviewable(storage)
    assert "it was 000000000000" in listed.stale


def test_a_folder_in_use_and_a_finding_with_nothing_to_decide_are_refused(storage, tmp_path):
    contamination(storage, ["same", "different"])
    (tmp_path / "review").mkdir()
    with pytest.raises(FindingError, match="has no unsure row; --all shows those"):
        export_review("contamination", out=tmp_path / "review", store=storage.root)
    (tmp_path / "review/mine.txt").write_text("mine")
    message = "review: is there already; expected a new or empty folder"
    with pytest.raises(UsageError, match=message):
        export_review("contamination", out=tmp_path / "review", every=True, store=storage.root)
    assert [p.name for p in (tmp_path / "review").iterdir()] == ["mine.txt"]
    made = {**about(storage, "two"), "against": ["exam"]}
    empty = write_finding(storage, "contamination", made, [], CONTAMINATION_SCHEMA)
    with pytest.raises(FindingError, match="has no rows"):
        export_review(empty.fingerprint, out=tmp_path / "new", every=True, store=storage.root)
    assert not (tmp_path / "new").exists()


def run(storage, *words):
    done = CliRunner().invoke(app, [*words, "--store", str(storage.root)], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_the_command_lists_lays_out_and_takes_back(storage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    old = contamination(storage, ["unsure", "same", "unsure"])
    assert re.search(
        rf"contamination +{old.fingerprint[:12]} +one +3 +2 +- +-", run(storage, "review")
    )
    laid = json.loads(run(storage, "review", "contamination", "--json").splitlines()[-1])
    assert laid["folder"] == f"review-{old.fingerprint[:12]}"
    file = fill_in(tmp_path / laid["folder"], {0: "same"})
    words = ("review", old.fingerprint[:6], "--apply", str(file), "--by", "Jo", "--json")
    taken = json.loads(run(storage, *words).splitlines()[-1])
    assert (taken["supersedes"], taken["decided"], taken["left"]) == (old.fingerprint, 1, 1)
    listed = json.loads(run(storage, "review", "--json").splitlines()[-1])["findings"]
    assert [(f["finding"], f["unsure"]) for f in listed] == [(taken["finding"], 1)]
    assert listed[0]["review"]["by"] == "Jo"
    assert "Jo" in run(storage, "review")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--all"], "--all: needs a finding; fusekit review lists them"),
        (["--by", "Jo"], "--by: needs a finding; fusekit review lists them"),
        (["overlap", "--by", "Jo"], "--by: says who decided; expected --apply with it"),
        (["overlap", "--apply", "x.csv", "--out", "y"],
         "--apply: and --out together; expected one of them"),
        (["overlap", "--apply", "x.csv", "--all"],
         "--apply: and --all together; expected one of them"),
    ],
)  # fmt: skip
def test_options_that_do_not_go_together_are_refused(storage, words, message):
    done = CliRunner().invoke(app, ["review", *words, "--store", str(storage.root)])
    assert isinstance(done.exception, UsageError)
    assert str(done.exception) == message


def test_a_folder_that_fails_half_way_is_not_left_behind(storage, tmp_path, monkeypatch):
    contamination(storage, ["unsure"])

    def fail(*args, **options):
        raise FindingError("here", "broke")

    monkeypatch.setattr("fusekit.report.review_folder.encode_crop", fail)
    with pytest.raises(FindingError, match="broke"):
        export_review("contamination", out=tmp_path / "review", store=storage.root)
    assert not (tmp_path / "review").exists()
