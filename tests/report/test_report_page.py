import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.findings import make_datasets, make_finding, make_findings
from support.real_store import copy_store
from support.stores import make_dataset
from typer.testing import CliRunner

from fusekit.cli.main import app
from fusekit.curate.overlap import find_overlap
from fusekit.errors import FindingError, StoreError, UsageError
from fusekit.mixture.build import build_mixture
from fusekit.report import looks
from fusekit.report.markup import Html, table, tag
from fusekit.report.overlaps import count_overlaps
from fusekit.report.page import write_report
from fusekit.schema import OVERLAP_SCHEMA
from fusekit.store.findings import list_findings, write_finding
from fusekit.store.layout import open_store

HOSTILE = "<script>alert(1)</script>\"'&amp;<img src=http://x.test/y onerror=alert(2)>"
RECIPE = """
name: mix
labeled: [{dataset: people, min_images: 2}, {dataset: stars}]
unlabeled: [{dataset: crawl}]
batch: {size: 16, unlabeled_fraction: 0.25}
"""
VOID = {"meta", "img", "br", "line", "rect", "circle"}


class Page(HTMLParser):
    """What stands in a page: every element must be closed, in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.words = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        if name not in VOID or name in ("rect", "circle"):
            self.open.append(name)

    def handle_startendtag(self, name, attributes):
        self.elements.append((name, dict(attributes)))

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        self.words.append(data)

    def all(self, name):
        return [attributes for found, attributes in self.elements if found == name]


@pytest.fixture(scope="module", autouse=True)
def no_detector():
    """Drawn crops show no face; the detector has tests of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(looks, "_detector", lambda report: None)
        yield


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    storage = open_store(folder / "store", create=True)
    make_datasets(storage)
    make_findings(storage)
    (folder / "mix.yaml").write_text(RECIPE)
    build_mixture(folder / "mix.yaml", folder / "store")
    return folder / "store"


@pytest.fixture(scope="module")
def written(store, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "r.html"
    return write_report(store=store, out=out), out.read_text("utf-8")


def test_a_report_tells_of_every_dataset_and_finding(store, written):
    result, text = written
    page = Page(text)
    ids = {a["id"] for _, a in page.elements if "id" in a}
    for name in ("people", "stars", "crawl", "exam"):
        assert f"dataset-{name}" in ids
    for finding in list_findings(open_store(store)):
        assert f"finding-{finding.fingerprint[:12]}" in ids
    assert len(result.material.findings) == 6
    links = [a["href"] for a in page.all("a")]
    assert links
    assert all(link.startswith("#") and link[1:] in ids for link in links)


def test_a_report_asks_for_nothing_and_runs_nothing(written):
    page = Page(written[1])
    names = {name for name, _ in page.elements}
    assert not names & {"script", "link", "iframe", "object", "embed", "form", "base", "style src"}
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "srcset", "poster", "action"):
            assert attributes.get(name, "#").startswith(("#", "data:image/jpeg;base64,"))
    assert "url(" not in written[1]
    assert "@import" not in written[1]
    policy = next(a for a in page.all("meta") if a.get("http-equiv"))["content"]
    assert policy.startswith("default-src 'none'")


def test_every_picture_and_chart_says_what_it_shows(written):
    page = Page(written[1])
    assert page.all("img")
    assert all(a["alt"] and a["width"] and a["height"] for a in page.all("img"))
    assert all(a["role"] == "img" and a["aria-label"] for a in page.all("svg"))
    assert all(a["scope"] for a in page.all("th"))
    levels = [int(name[1]) for name, _ in page.elements if re.fullmatch(r"h[1-6]", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert page.all("html") == [{"lang": "en"}]


def test_the_same_store_gives_the_same_bytes(store, written, tmp_path):
    result, text = written
    again = write_report(store=store, out=tmp_path / "again.html")
    assert again.sha256 == result.sha256
    assert (tmp_path / "again.html").read_text("utf-8") == text


def test_the_stores_path_and_the_time_are_not_in_it(store, written):
    assert str(store.parent) not in written[1]
    assert not re.search(r"\d\d:\d\d:\d\d", written[1])


def test_without_images_no_picture_is_in_it(store, tmp_path):
    result = write_report(store=store, out=tmp_path / "r.html", pictures=False)
    page = Page((tmp_path / "r.html").read_text("utf-8"))
    assert page.all("img") == []
    assert "data:" not in "".join(a.get("src", "") for _, a in page.elements)
    assert result.size < 300_000
    assert "people: Ann Lee (ann)" in page.words


def test_hostile_names_and_reasons_stay_text(tmp_path):
    storage = open_store(tmp_path / "store", create=True)
    make_dataset(storage, "people", {HOSTILE: 3, "bob": 2}, names={HOSTILE: HOSTILE})
    make_dataset(storage, "stars", {"x1": 3})
    row = {
        "dataset_a": "people", "identity_a": HOSTILE, "identity_index_a": 0, "dataset_b": "stars",
        "identity_b": "x1", "identity_index_b": 0, "score": 0.9, "votes": 1, "compared": 1,
        "margin": None, "name_match": None, "false_match": 0.0, "decision": "same", "cluster": 0,
    }  # fmt: skip
    make_finding(storage, "overlap", [row], datasets=["people", "stars"], note=HOSTILE)
    write_report(store=tmp_path / "store", out=tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text("utf-8")
    page = Page(text)
    assert page.all("script") == []
    assert not any("onerror" in attributes for attributes in page.all("img"))
    assert f"people: {HOSTILE} ({HOSTILE})" in page.words
    assert any(HOSTILE.split('"')[0] in words for words in page.words if '"note"' in words)


@given(st.text(), st.text())
def test_text_and_attributes_come_back_as_they_were(text, attribute):
    clean = [t.replace("\r", "").replace("\x00", "") for t in (text, attribute)]
    page = Page(tag("p", clean[0], title=clean[1]))
    assert "".join(page.words) == clean[0]
    assert page.elements == [("p", {"title": clean[1]})]


def test_a_table_marks_numbers_and_names_its_rows():
    page = Page(table(("name", "n"), [("a", 1234), (Html("<b>b</b>"), None)], "what it shows"))
    assert [a["class"] for a in page.all("td")] == ["number", "number"]
    assert "1,234" in page.words
    assert [a["scope"] for a in page.all("th")] == ["col", "col", "row", "row"]
    assert page.all("div")[0]["aria-label"] == "what it shows"


def test_people_in_common_are_counted_by_identity(store, written):
    same, unsure = written[0].material.overlaps.same, written[0].material.overlaps.unsure
    assert (same["people", "stars"], unsure["people", "stars"]) == (1, 1)
    assert (same["stars", "people"], unsure["stars", "people"]) == (1, 1)
    assert same["people", "exam"] == 2
    assert ("stars", "exam") not in same


def test_stale_and_superseded_findings_are_told_but_do_not_count(tmp_path):
    storage = open_store(tmp_path / "store", create=True)
    make_datasets(storage)
    old = make_findings(storage)["overlap"]
    about = {**old.about, "supersedes": old.fingerprint}
    write_finding(storage, "overlap", about, [], OVERLAP_SCHEMA, review={"by": "me"})
    stale = {"datasets": ["people", "stars"], "inputs": {"people": "0" * 64}}
    write_finding(storage, "overlap", stale, [], OVERLAP_SCHEMA)
    assert count_overlaps(storage, list_findings(storage)).same["people", "stars"] == 0
    result = write_report(store=tmp_path / "store", out=tmp_path / "r.html", pictures=False)
    states = {f.state for f in result.material.findings if f.finding.kind == "overlap"}
    assert {"fresh", "superseded"} < states
    assert any(state.startswith("people has fingerprint") for state in states)
    assert "is stale: people has fingerprint" in (tmp_path / "r.html").read_text("utf-8")


def test_a_report_of_a_dataset_tells_of_it_and_its_findings(store, tmp_path):
    result = write_report("stars", store, out=tmp_path / "r.html")
    assert [d.info.name for d in result.material.datasets] == ["stars"]
    assert [f.finding.kind for f in result.material.findings] == ["overlap"]
    assert "<h1>Dataset stars</h1>" in (tmp_path / "r.html").read_text("utf-8")


def test_a_report_of_a_mixture_tells_of_its_sources(store, tmp_path):
    result = write_report("mix", store, out=tmp_path / "r.html")
    assert [p.name for p in result.material.mixture.parts] == ["people", "stars", "crawl"]
    assert [d.info.name for d in result.material.datasets] == ["crawl", "people", "stars"]
    text = (tmp_path / "r.html").read_text("utf-8")
    assert "Sources of the mixture, in its order" in text
    assert result.material.record["fingerprint"] in text


def test_what_stands_out_names_what_was_not_checked(store, written):
    notes = "".join(Page(written[1]).words)
    assert "people and evaluation sets have people in common (2 rows)" in notes
    assert "overlap of people, stars: a person has to decide on 1 row" in notes
    assert "Not checked against evaluation sets: stars." in notes
    assert "crawl: 2 samples of people who are known already." in notes


def test_activations_are_told_as_a_cumulative_table(written):
    (told,) = [f for f in written[0].material.findings if f.finding.kind == "activation"]
    assert told.below[-1] == 20
    for tenth, count in enumerate(told.below[:-1], 1):
        assert count == sum(i / 19 < tenth / 10 for i in range(20))


def test_the_command_prints_what_it_wrote(store, tmp_path):
    words = ["report", "--out", str(tmp_path / "r.html"), "--store", str(store)]
    said = CliRunner().invoke(app, [*words, "--no-images"])
    assert said.exit_code == 0, said.output
    assert "datasets  4" in said.stdout
    found = CliRunner().invoke(app, [*words, "people", "--json"])
    about = json.loads(found.stdout.splitlines()[-1])
    assert (about["what"], about["name"]) == ("dataset", "people")
    assert about["bytes"] == (tmp_path / "r.html").stat().st_size
    assert {"dataset": "people", "in": "stars", "same": 1, "unsure": 1} in about["overlap"]
    assert about["datasets"]["people"]["samples"] == 24
    assert about["findings"][0]["kind"] == "activation"


def test_a_reports_name_must_be_a_pages(store, tmp_path):
    with pytest.raises(UsageError, match=r"r\.pdf: is no name of a report; expected one that ends"):
        write_report(store=store, out=tmp_path / "r.pdf")


def test_an_empty_store_has_nothing_to_report(tmp_path):
    open_store(tmp_path / "store", create=True)
    with pytest.raises(StoreError, match="holds no dataset; fusekit ingest adds one"):
        write_report(store=tmp_path / "store", out=tmp_path / "r.html")


def test_a_name_that_is_not_there_is_told(store, tmp_path):
    with pytest.raises(StoreError, match=r"peeple: is not ingested; did you mean 'people'\?"):
        write_report("peeple", store, out=tmp_path / "r.html")


def test_a_finding_without_its_table_is_told(tmp_path):
    storage = open_store(tmp_path / "store", create=True)
    make_datasets(storage)
    finding = make_findings(storage)["clusters"]
    storage.path(f"findings/clusters/{finding.fingerprint}/table.parquet").unlink()
    with pytest.raises(FindingError, match=r"clusters/.*table\.parquet: is missing or damaged"):
        write_report(store=tmp_path / "store", out=tmp_path / "r.html")


@pytest.mark.shared
def test_a_report_of_real_sets_counts_the_people_they_share(real_store, tmp_path):
    store = copy_store(real_store, tmp_path / "store")
    find_overlap(["pins", "glint", "five"], store=store)
    result = write_report(store=store, out=tmp_path / "r.html")
    overlaps = result.material.overlaps
    assert (overlaps.same["glint", "pins"], overlaps.same["pins", "glint"]) == (8, 8)
    assert overlaps.same["pins", "five"] == 1
    assert overlaps.same["glint", "five"] == 0
    assert ("pins", "celeba") not in overlaps.same
    assert result.material.signature.accuracy > result.material.signature.chance
    text = (tmp_path / "r.html").read_text("utf-8")
    assert "Not compared for people in common: celeba and five, celeba and glint" in text
    assert len(Page(text).all("img")) > 200
