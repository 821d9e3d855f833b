import re
from pathlib import Path

from fusekit.mixture.recipe import load_recipe
from fusekit.mixture.summary import RULES
from fusekit.mixture.where import parse_where

PAGE = Path(__file__).parents[2] / "docs/how-to/write-a-recipe.md"


def test_the_recipe_of_the_guide_loads(tmp_path):
    text, batch = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "faces.yaml").write_text(text)
    recipe = load_recipe(tmp_path / "faces.yaml")
    condition = parse_where(recipe.labeled[0].where, "faces.yaml")
    assert condition.values[1:] == (-60, 60)
    (tmp_path / "faces.yaml").write_text(re.sub(r"(?m)^batch:.*\n", batch, text))
    recipe = load_recipe(tmp_path / "faces.yaml")
    assert (recipe.batch.size, recipe.batch.grouping) == (512, "sub_batches")
    assert recipe.epochs == "stop_first"


def test_the_guide_lists_the_rules_in_their_order():
    rows = re.findall(r"^\| [`(](\w+)[`)] \|", PAGE.read_text(), re.MULTILINE)
    assert tuple(rows) == RULES
