"""The names that ``fusekit.losses`` offers, and that nothing is imported before one is used."""

import ast
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

from fusekit import losses


def test_the_public_list_the_lazy_homes_and_the_type_checkers_names_agree():
    tree = ast.parse(Path(losses.__file__).read_text())
    typed = {
        alias.asname
        for block in ast.walk(tree)
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module.startswith("fusekit.losses.")
        for alias in node.names
    }
    assert typed == set(losses._HOME) == set(losses.__all__)
    assert list(losses.__all__) == sorted(set(losses.__all__)) == dir(losses)


@pytest.mark.parametrize("name", losses.__all__)
def test_every_name_can_be_imported_and_is_documented(name):
    value = getattr(losses, name)
    assert value.__name__ == name
    assert inspect.getdoc(value)


def test_no_name_is_that_of_a_file():
    # Importing the file would put the module in the name's place.
    files = {module.name for module in pkgutil.iter_modules(losses.__path__)}
    assert files & set(losses.__all__) == set()


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"module 'fusekit\.losses' has no attribute 'hinge'"):
        losses.hinge  # noqa: B018 - asked for its error


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_the_package_needs_no_torch():
    assert run("import sys, fusekit.losses; print('torch' in sys.modules)") == "False"


def test_without_torch_a_name_says_what_to_install():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from fusekit import losses\n"
        "try: losses.DatasetAwareHead\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    assert run(code) == (
        "MissingExtraError losses: needs the extra 'torch'; pip install 'fusekit[torch]'"
    )
