import pytest

from fusekit.cards.card import Card, CardForm, with_options
from fusekit.cards.options import parse_options
from fusekit.errors import CardError, UsageError


def test_values_are_json_where_they_can_be_and_text_elsewhere():
    texts = ["every_ms=500", "sample=shots", 'files=["a", "b"]', "path=a=b", "empty="]
    assert parse_options(texts) == {
        "every_ms": 500, "sample": "shots", "files": ["a", "b"], "path": "a=b", "empty": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["every_ms"], "--option: 'every_ms'; expected NAME=VALUE, such as every_ms=500"),
        (["=5"], "--option: '=5'; expected NAME=VALUE, such as every_ms=500"),
        (["a=1", "a=2"], "--option: 'a' is there twice; expected each option once"),
    ],
)
def test_what_is_no_option_is_one_line(texts, message):
    with pytest.raises(UsageError) as caught:
        parse_options(texts)
    assert str(caught.value) == message


def test_a_value_nested_without_end_is_text():
    assert parse_options(["a=" + "[" * 100_000]) == {"a": "[" * 100_000}


def test_options_go_over_those_of_the_one_form():
    forms = (
        CardForm(reader="folders", options={"identity": "#", "strip_prefix": "a"}),
        CardForm(reader="recordio"),
    )
    card = with_options(Card(name="a", kind="labeled", forms=forms), "folders", {"identity": "*"})
    assert card.form("folders").options == {"identity": "*", "strip_prefix": "a"}
    assert card.form("recordio").options == {}
    with pytest.raises(CardError, match="a: has no form 'rec'"):
        with_options(card, "rec", {})


def test_another_template_is_for_finished_crops_only():
    with pytest.raises(ValueError, match="template 'dlib-150' is for finished crops; add aligned"):
        CardForm(reader="folders", template="dlib-150")
