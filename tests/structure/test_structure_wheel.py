import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent.parent


@pytest.mark.slow
def test_the_wheel_brings_cards_recipes_sql_and_types(tmp_path):
    # The build backend is fetched by pip as any other build's.
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path),
         str(REPOSITORY)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("fusekit-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    data = "fusekit/_data"
    cards = {f"{data}/manifests/{p.name}" for p in (REPOSITORY / "manifests").glob("*.yaml")}
    recipes = {f"{data}/pipelines/{p.name}" for p in (REPOSITORY / "pipelines").glob("*.yaml")}
    sql = {p.relative_to(REPOSITORY).as_posix() for p in (REPOSITORY / "fusekit").rglob("*.sql")}
    wanted = cards | recipes | sql | {"fusekit/py.typed", "fusekit/__main__.py"}
    assert len(cards) >= 16
    assert len(recipes) >= 3
    assert wanted - names == set()
    assert not any(name.startswith(("tests/", "docs/")) for name in names)
    assert {n for n in names if n.startswith(data)} == cards | recipes
