"""What every test may ask for."""

import os
from pathlib import Path

import pytest
from hypothesis import settings
from support.real_store import make_real_store

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


@pytest.fixture(scope="session")
def real_store(shared, tmp_path_factory, worker_id) -> Path:
    """A read-only store of real datasets with embeddings; see support/real_store.py.

    FUSEKIT_REAL_STORE names one that was made before, which saves two minutes.
    """
    if made := os.environ.get("FUSEKIT_REAL_STORE"):
        return Path(made)
    top = tmp_path_factory.getbasetemp()
    # Each xdist worker has a folder of its own inside that of the run.
    return make_real_store(shared, (top if worker_id == "master" else top.parent) / "real")
