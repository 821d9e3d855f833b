import pickle

import pytest

from fusekit import errors


def test_a_message_says_where_what_was_found_what_was_expected_and_the_next_step():
    error = errors.CardError("a.yaml", "kind is 'x'", "labeled", "mend it")
    assert str(error) == "a.yaml: kind is 'x'; expected labeled; mend it"


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_crosses_a_process_border_unchanged(name):
    kind = getattr(errors, name)
    if kind is errors.MissingExtraError:
        error = kind("embed with dlib", "dlib")
    elif kind is errors.ItemError:
        error = kind("no_face", "a.jpg", "no face was found")
    else:
        error = kind("here", "found", "expected", "fix")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.args) == (kind, str(error), error.args)


def test_a_missing_extra_gives_the_install_line():
    assert str(errors.MissingExtraError("embed with dlib", "dlib")) == (
        "embed with dlib: needs the extra 'dlib'; pip install 'fusekit[dlib]'"
    )


def test_the_tree_in_the_docstring_names_every_error():
    assert all(name in errors.__doc__ for name in errors.__all__)
    assert errors.__all__ == sorted(errors.__all__)
