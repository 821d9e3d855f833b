import ast
import inspect
from pathlib import Path

import pytest

import fusekit
from fusekit import errors

PACKAGE = Path(fusekit.__file__).parent


def test_the_public_list_is_sorted_and_names_each_once():
    assert list(fusekit.__all__) == sorted(set(fusekit.__all__))


@pytest.mark.parametrize("name", fusekit.__all__)
def test_every_public_name_can_be_imported_and_is_documented(name):
    value = getattr(fusekit, name)
    if name != "__version__":
        assert value.__name__ == name
        assert inspect.getdoc(value)


def test_the_public_list_the_lazy_homes_and_the_type_checkers_names_agree():
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    typed = {
        alias.asname
        for block in ast.walk(tree)
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module.startswith("fusekit.")
        for alias in node.names
    }
    assert typed == set(fusekit._HOME)
    assert set(fusekit.__all__) == typed | {"__version__"}
    assert dir(fusekit) == sorted(fusekit.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(
        AttributeError, match="module 'fusekit' has no attribute 'ingest_everything'"
    ):
        fusekit.ingest_everything  # noqa: B018 - asked for its error


def test_every_public_function_is_what_a_command_calls():
    called = "\n".join(p.read_text() for p in (PACKAGE / "cli").glob("*.py"))
    for name in fusekit.__all__:
        value = getattr(fusekit, name)
        if inspect.isfunction(value) and name != "list_cards":
            assert f"import {name}" in called, name


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_is_raised_somewhere(name):
    if name == "FusekitError":
        return  # the root, to be caught
    sources = [p.read_text() for p in PACKAGE.rglob("*.py") if p.name != "errors.py"]
    # Raised at once, made by a function for others to raise, or handed over as the class to use.
    assert any(f"{name}(" in text or f", {name})" in text for text in sources)


def test_the_errors_are_drawn_in_their_module():
    drawn = errors.__doc__
    assert [n for n in errors.__all__ if n not in drawn] == []


def test_packages_hold_no_code_but_a_docstring():
    for path in PACKAGE.glob("*/__init__.py"):
        if path.parent.name == "losses":
            continue  # offers names that users script against: tests/losses/test_losses_names.py
        body = ast.parse(path.read_text()).body
        assert len(body) == 1, path
        assert isinstance(body[0], ast.Expr), path


def test_no_module_has_a_name_that_says_nothing():
    nothing = {"utils", "common", "helpers", "base", "misc"}
    assert [p for p in PACKAGE.rglob("*.py") if p.stem in nothing] == []
