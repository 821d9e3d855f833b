"""The cases of every form, gathered from the modules that hold them."""

import importlib
from pathlib import Path

from support.forms import FormCase


def every_case() -> dict[tuple[str, str], FormCase]:
    cases: dict[tuple[str, str], FormCase] = {}
    for path in sorted(Path(__file__).parent.glob("forms_*.py")):
        here = importlib.import_module(f"support.{path.stem}").FORMS
        assert not set(here) & set(cases), path
        cases |= here
    return cases


CASES = every_case()
