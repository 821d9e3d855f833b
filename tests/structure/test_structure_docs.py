"""Documents show what is: generated pages are fresh, links lead somewhere, all is documented."""

import importlib.util
import re
from pathlib import Path

import pytest

from fusekit.cards.card import list_cards
from fusekit.models.catalogue import MODELS

REPOSITORY = Path(__file__).parent.parent.parent
DOCS = REPOSITORY / "docs"


@pytest.fixture(scope="module")
def reference():
    spec = importlib.util.spec_from_file_location("make_reference", DOCS / "make_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "name",
    ["cards.md", "cli.md", "datasets.md", "models.md", "python.md", "schema.md", "sql.md"],
)
def test_a_generated_page_is_fresh(reference, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "80")
    assert reference.read(name) == reference.pages()[name], "run make docs"


def test_every_command_is_on_the_page_of_commands(reference):
    page = reference.read("cli.md")
    words = [" ".join(each) for each in reference.commands()]
    assert words[:3] == ["ingest", "embed", "filter"]
    assert [w for w in words if f"\n## fusekit {w}\n" not in page] == []


def test_every_card_and_every_model_has_its_place():
    cards = (DOCS / "reference/datasets.md").read_text()
    assert [c.name for c in list_cards() if f"\n## {c.name}\n" not in cards] == []
    models = (DOCS / "reference/models.md").read_text()
    assert [m.name for m in MODELS if f"`{m.name}`" not in models] == []


@pytest.mark.parametrize(
    "path",
    [p.relative_to(REPOSITORY).as_posix() for p in (*DOCS.rglob("*.md"), *REPOSITORY.glob("*.md"))],
)
def test_every_link_to_a_file_leads_to_one(path):
    page = REPOSITORY / path
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{path}: {target}"


def test_the_readme_is_short():
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= 150


def test_nothing_names_the_machine_it_was_written_on():
    suffixes = {".py", ".md", ".yaml", ".toml", ".sql", ".svg", ""}
    for folder in ("fusekit", "docs", "manifests", "pipelines", ".ci"):
        for path in (REPOSITORY / folder).rglob("*"):
            if path.is_file() and path.suffix in suffixes and "__pycache__" not in path.parts:
                assert "/wo" + "rk/" not in path.read_text(), path
