"""The pages of losses: their Python runs as it stands, their figures are those of the code."""

import re
from pathlib import Path

import pytest
import torch
from support.exports import make_mixture
from support.recipes import build

from fusekit.losses.unknown_identity import uir_loss

FOLDER = Path(__file__).parents[2] / "docs/explanation"


def read(page):
    return (FOLDER / f"{page}.md").read_text()


@pytest.mark.parametrize(
    ("page", "trained"),
    [
        ("unknown-identity-rejection", "network"),
        ("metric-losses", "network"),
        ("distillation", "student"),
    ],
)
def test_the_page_runs_as_it_stands(tmp_path, monkeypatch, page, trained):
    storage = make_mixture(tmp_path / "fusekit-store")
    build(storage, "vgg", "rec", unlabeled=["crawl"], name="ten")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", read(page), flags=re.DOTALL)
    names = {}
    exec(code, names)
    assert names["batch"].n_labeled == 6
    assert all(p.grad.isfinite().all() for p in names[trained].parameters())


def test_the_table_of_a_known_face_is_what_the_forms_do():
    rows = dict(re.findall(r"^\| (activation|`double`|`log`) \|(.*)\|$", read(
        "unknown-identity-rejection"), flags=re.MULTILINE))  # fmt: skip
    values = {name: [float(v) for v in cells.split("|")] for name, cells in rows.items()}
    classes = 90_000
    for place, activation in enumerate(values["activation"]):
        logits = torch.zeros(1, classes)
        logits[0, 0] = torch.tensor(activation / (1 - activation) * (classes - 1)).log()
        for form in ("double", "log"):
            given = logits.clone().requires_grad_()
            uir_loss(given, form).backward()
            wanted = values[f"`{form}`"][place]
            assert given.grad[0, 0].item() == pytest.approx(wanted, abs=6e-4)
