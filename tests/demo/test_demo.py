import importlib.util
import subprocess
import sys

import cv2
import pytest

from fusekit.cards.card import load_card
from fusekit.demo.photographs import NO_FACE, PEOPLE, Photograph, find
from fusekit.demo.raw import build_raw, crawl_names, draw_framing
from fusekit.demo.run import run_demo
from fusekit.errors import MissingExtraError, SourceError, WorkError
from fusekit.readers.registry import open_reader

pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return build_raw(tmp_path_factory.mktemp("demo"))


def test_some_people_stand_in_both_labeled_datasets_under_different_names():
    both = [p.name for p in PEOPLE if p.vggface2 is not None and p.label is not None]
    assert both == ["Barack_Obama", "Jennifer_Aniston", "Matthew_Perry"]


def test_the_known_person_in_the_crawl_is_shown_by_another_photograph():
    [known] = [p for p in PEOPLE if p.known and p.crawl]
    assert not {s.path for s in known.crawl} & {s.path for s in known.photographs}


@pytest.mark.parametrize(
    ("card", "key", "items", "identities"),
    [
        ("vggface2", "vggface2", 40, 5),
        ("recordio", "recordio", 40, 5),
        ("unlabeled", "unlabeled", 15, 1),
    ],
)
def test_the_raw_datasets_are_in_the_forms_of_their_makers(raw, card, key, items, identities):
    found = list(open_reader(load_card(card), raw[key]).items())
    assert (len(found), len({i.identity for i in found})) == (items, identities)


def test_the_trees_name_table_is_read(raw):
    names = open_reader(load_card("vggface2"), raw["vggface2"]).names()
    assert names["n000044"] == "Barack_Obama"


def test_raw_data_is_the_same_each_time(raw, tmp_path):
    again = build_raw(tmp_path)
    for key, folder in raw.items():
        for path in folder.rglob("*.*"):
            assert (again[key] / path.relative_to(folder)).read_bytes() == path.read_bytes()


def test_a_framing_follows_from_its_key():
    assert draw_framing("a", 1) == draw_framing("a", 1) != draw_framing("a", 2)


def test_a_photograph_that_a_package_does_not_ship_is_one_line():
    with pytest.raises(SourceError, match="this release of skimage does not ship it"):
        find(Photograph("skimage", "data/nobody.png"))
    assert all(find(p).is_file() for p in NO_FACE)


@pytest.mark.slow
def test_the_demo_runs_to_its_end_and_draws_the_first_batch(tmp_path):
    told = []
    sheet = run_demo(tmp_path / "demo", say=told.append)
    text = "\n".join(told)
    assert "checked: all 3 pictures of the known person left the crawl, all 9 pictures" in text
    assert "batch 0: 24 labeled + 8 unlabeled" in text
    height, width, _ = cv2.imread(str(sheet)).shape
    assert width > 900
    assert height > 500
    run_demo(tmp_path / "demo")  # what stands is found and left


@pytest.mark.parametrize("package", ["insightface", "skimage", "dlib"])
def test_a_demo_without_its_packages_says_so_and_writes_nothing(tmp_path, monkeypatch, package):
    known = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == package else known(name)
    )
    told = []
    with pytest.raises(MissingExtraError, match=r"the demo: .*pip install 'fusekit\[demo\]'"):
        run_demo(tmp_path / "demo", say=told.append)
    assert (told, list(tmp_path.iterdir())) == ([], [])


@pytest.mark.slow
def test_a_demo_whose_command_fails_says_which(tmp_path, monkeypatch):
    (tmp_path / "store").write_text("in the way")
    with pytest.raises(WorkError, match="fusekit ingest: left with exit code 1; expected 0"):
        run_demo(tmp_path)


def test_the_truth_about_the_crawl_names_files_that_are_there(raw):
    for person in PEOPLE:
        for name in crawl_names(person):
            assert (raw["unlabeled"] / name).is_file()


def test_the_package_runs_as_a_module():
    run = subprocess.run(
        [sys.executable, "-m", "fusekit", "--version"], capture_output=True, text=True, check=True
    )
    assert run.stdout.startswith("fusekit ")
