import re

import pytest
from support.raw import pins_tree, record_pack, write_pictures

from fusekit.cards.card import Card, CardForm, card_as_used, list_cards, load_card
from fusekit.errors import CardError, SourceError
from fusekit.fingerprint import canonical_json
from fusekit.readers.options import Options
from fusekit.readers.registry import open_reader, reader_names, reader_type


def test_every_reader_that_is_named_is_there():
    for name in reader_names():
        reader = reader_type(name)
        assert reader.looks_for
        assert callable(reader.fits)
        assert issubclass(reader.options, Options)


def test_every_reader_is_in_a_card():
    used = {form.reader for card in list_cards() for form in card.resolved()}
    assert used == set(reader_names())


def test_a_pack_comes_before_folders_and_the_form_overrules(tmp_path):
    record_pack(pins_tree(tmp_path))
    assert open_reader(load_card("pinsface"), tmp_path).form == "recordio"
    reader = open_reader(load_card("pinsface"), tmp_path, "folders")
    assert reader.form == "folders"
    assert not reader.form_spec.aligned


def test_raw_data_of_no_form_says_what_was_looked_for(tmp_path):
    message = (
        f"{tmp_path}: holds no form of pinsface; expected a pack (*.rec) (recordio); "
        "identity folders (folders); give the folder that holds one with --from"
    )
    with pytest.raises(SourceError, match=f"^{re.escape(message)}$"):
        open_reader(load_card("pinsface"), tmp_path)


def test_forms_that_are_known_by_the_same_thing_are_named_together(tmp_path):
    with pytest.raises(SourceError) as refused:
        open_reader(load_card("ms1m"), tmp_path)
    message = str(refused.value)
    assert "a pack (*.rec) (ms1mv1, ms1mv2, ms1mv3, recordio); " in message
    assert "identity folders (folders, unpacked, rec2image); " in message
    assert message.count("*.rec") == 1


def test_raw_data_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(
        SourceError, match=r"nowhere: there is no such file or folder; expected the"
    ):
        open_reader(load_card("pinsface"), tmp_path / "nowhere")


def test_an_unknown_form_or_reader_names_the_nearest(tmp_path):
    with pytest.raises(CardError, match=r"pinsface: has no form 'rec'; expected recordio or folde"):
        open_reader(load_card("pinsface"), tmp_path, "rec")
    card = Card(name="mine", kind="labeled", forms=(CardForm(reader="foldrs"),))
    with pytest.raises(CardError, match=r"no reader 'foldrs'; expected .*; did you mean 'folders'"):
        open_reader(card, tmp_path)


def test_the_form_as_used_has_every_default_in_it(tmp_path):
    write_pictures(tmp_path, "anna/1.jpg")
    bare = Card(name="a", kind="labeled", forms=(CardForm(reader="folders"),))
    told = CardForm(reader="folders", options={"identity": "*", "splits": {}}, notes="n")
    spelt = Card(name="b", kind="labeled", forms=(told,))
    used = [card_as_used(c, open_reader(c, tmp_path).form_spec) for c in (bare, spelt)]
    assert canonical_json(used[0]) == canonical_json(used[1])
    assert used[0]["form"]["options"]["strip_prefix"] == ""
