"""What every test may ask for."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("ci", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("ci")

# The benchmarks' peers belong to another environment: nothing of theirs is imported for doctests.
collect_ignore = ["bench/peers"]

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photographs; tests that ask for it are skipped where it is not."""
    folder = Path(os.environ.get("FUSEKIT_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "faces").is_dir():
        pytest.skip(f"no real photographs at {folder}; set FUSEKIT_SHARED")
    return folder
