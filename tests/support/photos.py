"""Photographs that the test dependencies ship."""

import importlib.util
from pathlib import Path


def _package(name: str) -> Path:
    return Path(importlib.util.find_spec(name).origin).parent


SIX_PEOPLE = _package("insightface") / "data/images/t1.jpg"
PORTRAIT = _package("insightface") / "data/images/Tom_Hanks_54745.png"
ASTRONAUT = _package("skimage") / "data/astronaut.png"
