import re

import pytest

from fusekit.cards.safe_yaml import MAX_BYTES, read_yaml
from fusekit.errors import CardError, RecipeError

BOMB = "a: &a [x, x]\n" + "".join(
    f"{c}: &{c} [*{p}, *{p}]\n" for p, c in zip("abcdefgh", "bcdefghi", strict=True)
)


def read(tmp_path, data, error=CardError):
    path = tmp_path / "x.yaml"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_yaml(path, error)


def test_plain_values_are_read_as_they_stand(tmp_path):
    text = 'a: 1\nb: [0.5, true, null, "0045"]\nc: {d: 2019-01-01}\n'
    assert read(tmp_path, text) == {
        "a": 1, "b": [0.5, True, None, "0045"], "c": {"d": "2019-01-01"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (BOMB, "x.yaml:1: an anchor or alias; expected plain YAML without it"),
        ("a: *b\n", "x.yaml:1: an anchor or alias"),
        ("a: 1\nb: 2\na: 3\n", "x.yaml:3: the key 'a' a second time"),
        ("a:\n  ? [1, 2]\n  : 3\n", "x.yaml:2: a key that is no text"),
        ("[" * 5_000, "x.yaml:1: nested too deep"),
        (
            "a: !!python/object/apply:os.system [ls]\n",
            "x.yaml:1: could not determine a constructor",
        ),
        ("a: [1\n", "x.yaml:2: "),
        ("a: \0\n", "x.yaml: unacceptable character"),
        (b"a: \xff\n", "x.yaml: is no UTF-8 text"),
        (b"#" * (MAX_BYTES + 1), f"x.yaml: is larger than {MAX_BYTES} bytes"),
    ],
)
def test_what_is_not_plain_yaml_is_refused_by_its_line(tmp_path, data, message):
    with pytest.raises(CardError, match=re.escape(message)) as caught:
        read(tmp_path, data)
    assert "\n" not in str(caught.value)


def test_the_error_is_of_the_class_that_the_caller_wants(tmp_path):
    with pytest.raises(RecipeError, match="the key 'a' a second time"):
        read(tmp_path, "a: 1\na: 1\n", RecipeError)


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(CardError, match=r"nowhere: can't be read \(No such file"):
        read_yaml(tmp_path / "nowhere", CardError)
