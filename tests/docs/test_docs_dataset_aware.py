"""The page of the dataset-aware softmax: its Python runs, its defaults are those of the code."""

import inspect
import re
from pathlib import Path

import pytest

from fusekit.losses import DatasetAwareHead, DatasetClassifier

PAGE = (Path(__file__).parents[2] / "docs/explanation/dataset-aware-softmax.md").read_text()
HEAD, CLASSIFIER = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.mark.parametrize(("code", "module"), [(HEAD, "head"), (CLASSIFIER, "classifier")])
def test_the_python_runs_as_it_stands(code, module):
    names = {}
    exec(code, names)
    assert names["loss"].shape == ()
    names["loss"].backward()
    assert all(p.grad.abs().max() > 0 for p in names[module].parameters())


def test_the_page_tells_the_defaults():
    found = {
        name: each.default for name, each in inspect.signature(DatasetAwareHead).parameters.items()
    }
    assert (found["scale"], found["margin"], found["crossing_p"]) == (64, 0.5, 0)
    assert found["crossing_expected"] is None
    assert (found["beyond_pi"], found["margin_gradient"]) == ("insightface", "exact")
    assert found["sample_rate"] == 1
    assert found["loss"] == "arcface"
    assert inspect.signature(DatasetClassifier).parameters["reversal"].default == 0.1


def test_the_page_says_that_the_method_is_described_in_patent_applications():
    assert "patent applications" in " ".join(PAGE.replace(">", " ").split())
