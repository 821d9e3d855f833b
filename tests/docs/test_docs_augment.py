"""The how-to of augmentation: its Python runs as it stands, its table tells the defaults."""

import ast
import re
from pathlib import Path

import numpy as np
import torch
from support.exports import make_mixture
from support.recipes import build

from fusekit import MixtureLoader
from fusekit.loader.crops.augment import OPERATIONS, Augment

PAGE = (Path(__file__).parents[2] / "docs/how-to/augment.md").read_text()
CODE = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
FOREIGN = re.findall(r"```py\n(.*?)```", PAGE, flags=re.DOTALL)


def open_store(folder, monkeypatch):
    storage = make_mixture(folder / "fusekit-store")
    build(storage, "vgg", "rec", unlabeled=["crawl"], name="ten")
    monkeypatch.chdir(folder)


def test_the_page_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    open_store(tmp_path, monkeypatch)
    names = {}
    for code in CODE:
        exec(code, names)
    assert capsys.readouterr().out == "(8, 3, 112, 112)\n" * 4
    assert names["noisy"].dtype == torch.uint8
    assert names["noisy"].float().std() > 1


def test_the_pages_transform_gives_the_same_after_a_resume(tmp_path, monkeypatch):
    open_store(tmp_path, monkeypatch)
    names = {}
    exec(CODE[1], names)

    def open_loader(threads):
        return MixtureLoader(
            "fusekit-store/mixtures/ten", 8, seed=5, threads=threads, epochs={"steps": 6},
            augment={"color": 0.5, "jpeg": 0.5}, transform=names["add_noise"],
        )  # fmt: skip

    with open_loader(2) as loader:
        wanted = [batch.images.clone() for batch in loader]
    with open_loader(1) as loader:
        batches = iter(loader)
        for _ in range(3):
            next(batches)
        state = loader.state_dict()
    with open_loader(2) as loader:
        loader.load_state_dict(state)
        resumed = [batch.images.clone() for batch in loader]
    assert len(resumed) == 3
    assert all(torch.equal(a, b) for a, b in zip(resumed, wanted[3:], strict=True))
    assert not torch.equal(wanted[0], wanted[1])


def test_the_code_for_other_libraries_is_python():
    assert len(FOREIGN) == 2
    for code in FOREIGN:
        ast.parse(code)


def test_the_table_tells_every_operation_in_its_order_with_its_defaults():
    rows = re.findall(r"^\| `(\w+)` \| .*? \| (.*?) \| [\d.]+ \|$", PAGE, flags=re.MULTILINE)
    assert [name for name, _ in rows] == list(OPERATIONS)
    default, told = Augment(), set()
    for _, fields in rows:
        for names, value in re.findall(r"((?:`\w+`, )*`\w+)=(.*?)`", fields):
            for name in re.findall(r"\w+", names):
                assert np.all(getattr(default, name) == eval(value)), name
                told.add(name)
    assert told == default.as_json().keys() - set(OPERATIONS)
