"""Names: spellings of one name match, other names don't, codes are no names."""

import itertools
import unicodedata

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusekit.curate.names import (
    TYPO_LETTERS,
    fold_aliases,
    match_names,
    name_key,
    names_match,
    person_name,
)

ACCENTS = ["", "\u0301", "\u0308", "\u0327", "\u030c"]
LATIN = st.sampled_from("abcdefghijklmnopqrstuvwxyz")
WORD = st.text(LATIN, min_size=2, max_size=9)
NAME = st.lists(WORD, min_size=1, max_size=4).map(" ".join)
TEXT = st.one_of(
    NAME, st.text(max_size=20), st.text("aB1_ -.'é\u0301(I)#øŁß王", max_size=12), st.just("pins_")
)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Ben_Affleck", "ben affleck"),
        ("pins_Ben Affleck", "BEN-AFFLECK"),
        ("ben_afflek", "Ben Affleck"),
        ("BenAffleck", "Ben Affleck"),
        ("Brian J. Smith", "brian_j_smith"),
        ("Penélope Cruz", "PENELOPE_CRUZ"),
        ("Leonardo DiCaprio", "leonardo_di_caprio"),
        ("Conan O\u2019Brien", "Conan_OBrien"),
        ("0012_Halle_Berry_0003", "Halle Berry"),
        ("Halle Berry2", "halle berry"),
        ("Steve Martin (II)", "Steve_Martin"),
        ("Søren Kjærgård", "soren kjaergard"),
        ("Jürgen Groß", "JURGEN GROSS"),
        ("Gweneth Paltrow", "Gwyneth Paltrow"),
        ("Keanu Reevse", "Keanu Reeves"),
    ],
)
def test_spellings_of_one_name_match(a, b):
    assert names_match(a, b) is True


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("George_W_Bush", "George_HW_Bush"),
        ("Robert Downey Jr", "Robert Downey"),
        ("Bill_Graham", "Billy_Graham"),
        ("John_Kerr", "John_Kerry"),
        ("Chris Brown", "Chris Braun"),
        ("Ziyi Zhang", "Zhang Ziyi"),
        ("Michael B. Jordan", "Michael Jordan"),
        ("Mahmoud Abbas", "Ahmoudo Abbas"),
        ("Gwenith Paltrow", "Gwyneth Paltrow"),
        ("Madona Louisse", "Madonna Louise"),
    ],
)
def test_other_names_do_not_match(a, b):
    assert names_match(a, b) is False


@pytest.mark.parametrize(
    "code",
    [
        "0000045", "n000106", "m.0fd6sd", "nm0000001", "id_490624", "person_12", "7", "07201", "",
        "train009900", "madonna2", "speaker-a-007", "test_subject_4", "Xy 12", None, "___", "Xy",
        "class 3", "unknown", "pins_0", "3f2a9c1e-77aa", "face7 b2",
    ],
)  # fmt: skip
def test_codes_and_numbers_are_no_names(code):
    assert name_key(code) is None
    assert names_match(code, "Ben Affleck") is None
    assert names_match("Ben Affleck", code) is None


def test_names_of_short_words_are_names():
    assert [name_key(name) for name in ("Li Na", "Cher", "王菲", "Bo Ryan 12")] == [
        "li na", "cher", "王菲", "bo ryan",
    ]  # fmt: skip


def test_a_display_name_comes_before_an_identity_that_reads_as_a_name():
    assert person_name("n000106", "Cher") == "Cher"
    assert person_name("elton_john", None) == "elton_john"
    assert person_name("elton_john", "07") == "elton_john"
    assert person_name("12", "07201") is None


@given(TEXT, TEXT)
def test_matching_is_symmetric(a, b):
    assert names_match(a, b) is names_match(b, a)


@given(TEXT)
def test_a_name_matches_itself_and_its_key_is_its_own_key(text):
    key = name_key(text)
    assert key is None or name_key(key) == key
    assert names_match(text, text) is (None if key is None else True)


@given(st.text("abcdefgßøłæéñç žÅ-_", max_size=24))
def test_case_does_not_matter(text):
    assert name_key(text.upper()) == name_key(text.lower()) == name_key(text)


@given(NAME, st.lists(st.sampled_from(ACCENTS), min_size=1, max_size=6))
def test_accents_do_not_matter(name, accents):
    marked = "".join(c + a for c, a in zip(name, itertools.cycle(accents)) if c != " ")
    plain = name.replace(" ", "")
    assert name_key(marked) == name_key(plain)
    assert name_key(unicodedata.normalize("NFC", marked)) == name_key(plain)


@given(
    st.lists(WORD.map("zo".__add__), min_size=2, max_size=4),
    st.sampled_from("_-. "),
    st.integers(0, 10**6),
)
def test_separators_and_numbering_do_not_matter(words, separator, number):
    name = " ".join(words)
    assert name_key(separator.join(words)) == name_key(name)
    assert name_key(f"{number}_{name}") == name_key(f"{name} {number}") == name_key(name)


def _distance(a, b):
    """Optimal string alignment, the whole table: the textbook's recurrence."""
    table = {(i, 0): i for i in range(len(a) + 1)} | {(0, j): j for j in range(len(b) + 1)}
    for i, j in itertools.product(range(1, len(a) + 1), range(1, len(b) + 1)):
        costs = [
            table[i - 1, j] + 1,
            table[i, j - 1] + 1,
            table[i - 1, j - 1] + (a[i - 1] != b[j - 1]),
        ]
        if i > 1 and j > 1 and a[i - 2 : i] == b[j - 2 : j][::-1]:
            costs.append(table[i - 2, j - 2] + 1)
        table[i, j] = min(costs)
    return table[len(a), len(b)]


@given(st.text("abc", min_size=1, max_size=9), st.text("abc", min_size=1, max_size=9))
def test_one_typing_error_in_a_long_word_is_forgiven_and_two_are_not(a, b):
    expected = a == b or (
        a[0] == b[0] and max(len(a), len(b)) >= TYPO_LETTERS and _distance(a, b) <= 1
    )
    assert names_match(f"zoe {a} xul", f"zoe {b} xul") is expected


@given(st.lists(st.one_of(st.none(), NAME), max_size=8), st.lists(NAME, max_size=8), st.data())
def test_matching_two_lists_gives_what_matching_each_pair_gives(left, right, data):
    # Names of the left, a letter changed or not, so that there is something to find.
    for name in filter(None, left):
        at = data.draw(st.integers(0, len(name) - 1))
        right = [*right, name[:at] + data.draw(LATIN) + name[at + data.draw(st.integers(0, 1)) :]]
    pairs = itertools.product(range(len(left)), range(len(right)))
    slow = [(i, j) for i, j in pairs if names_match(left[i], right[j])]
    assert match_names(left, right) == slow


def test_aliases_make_other_names_one():
    known = fold_aliases(
        {"Stefani Germanotta": "Lady Gaga", "Lady_Gaga": "Gaga Lady", "07": "Cher"}
    )
    assert names_match("stefani_germanotta", "LADY GAGA", known) is True
    assert names_match("Gaga Lady", "Lady Gaga", known) is True
    assert names_match("Stefani Germanotta", "Cher", known) is False
    assert names_match("Stefani Germanotta", "Lady Gaga") is False
    assert match_names(["Stefani Germanotta"], ["x y z", "Gaga Lady"], known) == [(0, 1)]


def test_aliases_that_run_in_a_circle_are_one_name():
    known = fold_aliases({"Ann One": "Bea Two", "Bea Two": "Cat Three", "Cat Three": "Ann One"})
    assert len(set(known.values())) == 1
    assert names_match("Ann One", "Cat Three", known) is True


def _names(store, dataset):
    table = pq.read_table(store / f"datasets/{dataset}/plan/identities.parquet").to_pylist()
    return [person_name(row["identity"], row["name"]) for row in table]


@pytest.mark.shared
def test_real_names_find_the_people_that_real_sets_share(real_store):
    names = {d: _names(real_store, d) for d in ("pins", "glint", "five", "celeba", "lfw")}

    def shared(a, b):
        return {name_key(names[b][j]) for _, j in match_names(names[a], names[b])}

    assert shared("pins", "glint") == {
        "gwyneth paltrow", "hugh jackman", "keanu reeves", "leonardo dicaprio", "mark ruffalo",
        "miley cyrus", "robert downey jr", "barack obama",
    }  # fmt: skip
    assert shared("five", "pins") == {"ben affleck"}
    assert shared("five", "lfw") == {"ben affleck", "elton john", "jerry seinfeld", "madonna"}
    assert len(shared("pins", "lfw")) == 13
    assert names["celeba"] == [None] * 299


@pytest.mark.shared
def test_real_names_of_other_people_hardly_ever_match(real_store):
    names = _names(real_store, "lfw")
    twins = [(names[i], names[j]) for i, j in match_names(names, names) if i < j]
    # Of nine million pairs of LFW's names; each is one letter from the other.
    assert twins == [
        ("Christian_Wulff", "Christiane_Wulff"), ("David_Heyman", "David_Heymann"),
        ("John_Barnett", "John_Burnett"), ("John_Burkett", "John_Burnett"),
    ]  # fmt: skip
