import json
import re
from pathlib import Path

import pytest
import yaml
from support.every_form import CASES

from fusekit.cards.card import (
    CROP_SIZES,
    Card,
    CardForm,
    card_as_used,
    list_cards,
    load_card,
)
from fusekit.errors import CardError
from fusekit.fingerprint import canonical_json
from fusekit.readers.registry import open_reader

KINDS = ("labeled", "unlabeled", "evaluation")
MANIFESTS = Path(__file__).parents[2] / "manifests"
TRAINING = [
    "14-celebrity", "asian-celeb", "casia-webface", "celeba", "deepglint",
    "ms1m", "pinsface", "200-celeb", "vggface2", "umdfaces",
]  # fmt: skip


def card_file(folder, text):
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


MINE = "name: mine\nkind: labeled\nforms:\n  - reader: folders\n"


def test_every_card_loads_under_its_file_name_and_is_documented():
    files = sorted(MANIFESTS.glob("*.yaml"))
    assert {card.name for card in list_cards()} == {path.stem for path in files}
    for path in files:
        card = load_card(path.stem)
        assert card.name == path.stem
        assert card.title
        assert card.terms
        assert path.read_text().startswith("# ")
        if card.index is not None and card.identities is not None:
            assert card.figures
            assert card.urls


def test_the_ten_training_sets_have_the_indexes_0_to_9():
    cards = list_cards()
    assert [card.name for card in cards[:10]] == TRAINING
    assert [card.index for card in cards[:10]] == list(range(10))
    assert all(card.index is None for card in cards[10:])
    assert all(card.kind == "labeled" for card in cards[:10])


def test_evaluation_sets_and_crawls_are_of_their_kind():
    names = {kind: {c.name for c in list_cards() if c.kind == kind} for kind in KINDS}
    assert names["evaluation"] == {
        "agedb-30", "calfw", "cfp-ff", "cfp-fp", "cplfw", "ijb-b", "ijb-c", "iqiyi-vid", "lfw",
        "rfw", "trillion-pairs", "vgg2-fp",
    }  # fmt: skip
    assert {"unlabeled", "img2dataset", "megaface"} <= names["unlabeled"]
    generic = {"csv", "folders", "frames", "jsonl", "lmdb", "parquet", "recordio", "tar", "video"}
    assert generic | {"webdataset", "zip"} <= names["labeled"]


def test_packs_and_verification_pickles_pass_through():
    for card in list_cards():
        for form in card.resolved():
            assert form.crop_size == CROP_SIZES[form.template]
            if form.reader in ("recordio", "pair-bin"):
                assert form.aligned, (card.name, form.name)


@pytest.mark.parametrize(("name", "form"), sorted(CASES), ids=lambda each: each)
def test_a_form_s_options_are_those_of_its_reader(name, form, tmp_path):
    card = load_card(name)
    reader = open_reader(card, CASES[name, form].build(tmp_path), form)
    assert reader.form == form
    assert set(card.form(form).options) <= set(reader.form_spec.options)


def test_the_published_overlaps_name_identities_as_the_folders_do():
    overlap = next(o for o in load_card("casia-webface").overlaps if o.dataset == "lfw")
    assert overlap.identities == len(set(overlap.ids)) == 19
    assert all(re.fullmatch(r"\d{7}", identity) for identity in overlap.ids)


def test_an_own_card_is_loaded_by_its_path(tmp_path):
    card = load_card(str(card_file(tmp_path, MINE)))
    assert (card.name, card.index, card.kind) == ("mine", None, "labeled")
    form = card.resolved()[0]
    assert (form.name, form.reader, form.aligned, form.faces) == (
        "folders",
        "folders",
        False,
        "best",
    )


def test_every_face_of_unlabeled_data_counts_unless_the_card_says_otherwise():
    card = Card(name="a", kind="unlabeled", forms=(CardForm(reader="unlabeled"),))
    assert card.resolved()[0].faces == "all"
    card = Card(name="a", kind="unlabeled", forms=(CardForm(reader="unlabeled", faces="best"),))
    assert card.resolved()[0].faces == "best"


def test_the_fingerprint_sees_what_affects_results_and_nothing_else(tmp_path):
    card = load_card(str(card_file(tmp_path, MINE)))
    other = load_card(str(card_file(tmp_path, MINE + "title: T\nterms: none\nidentities: 5\n")))
    used = card_as_used(card, card.resolved()[0])
    assert canonical_json(used) == canonical_json(card_as_used(other, other.resolved()[0]))
    assert json.loads(canonical_json(used)) == {
        "kind": "labeled",
        "form": {
            "name": "folders", "reader": "folders", "aligned": False, "faces": "best",
            "template": "arcface-112", "crop_size": [112, 112], "options": {},
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vgface2", "vgface2: no card has this name; expected a name or a path to a .yaml; "
         "did you mean 'vggface2'?"),
        ("zzz", "zzz: no card has this name; expected a name or a path to a .yaml; "
         "fusekit's own: 14-celebrity, 200-celeb, agedb-30"),
        ("nowhere/mine.yaml", "nowhere/mine.yaml: there is no such file"),
        ("../manifests/lfw", "../manifests/lfw: no card has this name"),
    ],
)  # fmt: skip
def test_a_card_that_is_not_there_names_the_nearest(name, message):
    with pytest.raises(CardError, match=re.escape(message)):
        load_card(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINE + "titel: x\n", "mine.yaml: unknown key 'titel'; did you mean 'title'?"),
        (MINE + "qqq: x\n", "mine.yaml: unknown key 'qqq'; known: figures, forms, identities, "),
        (MINE + "    alinged: true\n",
         "mine.yaml: forms[0]: unknown key 'alinged'; did you mean 'aligned'?"),
        (MINE + "overlaps:\n  - {note: x}\n",
         "mine.yaml: overlaps[0]: the key 'dataset' is missing"),
        (MINE + "overlaps:\n  - {datset: lfw, note: x}\n",
         "mine.yaml: overlaps[0]: unknown key 'datset'; did you mean 'dataset'?"),
        ("name: mine\nkind: labeled\n", "mine.yaml: the key 'forms' is missing"),
        ("name: mine\nkind: labeled\nfomrs: []\n",
         "mine.yaml: unknown key 'fomrs'; did you mean 'forms'?"),
        (MINE.replace("labeled", "labelled"),
         "mine.yaml: kind: 'labelled'; expected 'labeled', 'unlabeled' or 'evaluation'"),
        (MINE + "index: true\n", "mine.yaml: index: True; expected a valid integer"),
        (MINE + "index: 40000\n", "index: 40000; expected less than or equal to 32767"),
        (MINE + "    aligned: 'yes'\n", "forms[0].aligned: 'yes'; expected a valid boolean"),
        (MINE + "    template: ffhq\n", "forms[0].template: 'ffhq'; expected 'arcface-112'"),
        (MINE.replace("mine", "Mine"), "mine.yaml: name: 'Mine': string should match pattern"),
        (MINE + "  - reader: folders\n", "mine.yaml: two forms are named 'folders'"),
        (MINE + "    reader: recordio\n", "mine.yaml:5: the key 'reader' a second time"),
        (MINE + "identities: .inf\n", "mine.yaml: Out of range float"),
        ("- a\n", "mine.yaml: holds a list; expected keys and values (name, title, ind"),
        ("", "mine.yaml: holds nothing; expected keys and values"),
    ],
)  # fmt: skip
def test_a_card_that_is_not_well_formed_is_one_line_that_says_where(tmp_path, text, message):
    with pytest.raises(CardError, match=re.escape(message)) as caught:
        load_card(str(card_file(tmp_path, text)))
    assert "\n" not in str(caught.value)


def test_a_form_that_the_card_has_not_names_those_that_it_has():
    with pytest.raises(CardError, match="pinsface: has no form 'folder'; expected recordio or "):
        load_card("pinsface").form("folder")


def test_the_cards_hold_plain_values_only():
    for path in MANIFESTS.glob("*.yaml"):
        assert "!!" not in path.read_text()
        assert isinstance(yaml.safe_load(path.read_text()), dict)


def test_cards_that_are_not_installed_are_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("fusekit.shipped.__file__", str(tmp_path / "a/b.py"))
    with pytest.raises(CardError, match="manifests: fusekit's cards are not installed"):
        load_card("vggface2")
