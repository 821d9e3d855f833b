"""The filter on real faces of people whose names are known."""

import numpy as np
import pytest
from support.known_people import STRANGERS, embed_people, trial

pytestmark = pytest.mark.shared


@pytest.fixture(scope="module")
def people(shared, tmp_path_factory):
    return embed_people(
        shared, "faces_pins_112x112", str(shared / "models/mobilefacenet_128d.onnx"),
        tmp_path_factory.mktemp("pins"), per_person=16,
    )[0]  # fmt: skip


@pytest.mark.parametrize(
    ("count", "sets", "rule", "least_known", "most_strangers"),
    [
        (60, 1, "two-part", 0.92, 0.03),
        (60, 1, "activation", 0.92, 0.03),
        (30, 1, "two-part", 0.90, 0.04),
        (10, 1, "two-part", 0.90, 0.05),
        (4, 1, "two-part", 0.80, 0.05),
        (60, 4, "two-part", 0.88, 0.05),
    ],
)
def test_real_known_people_are_dropped_and_real_strangers_kept(
    people, tmp_path, count, sets, rule, least_known, most_strangers
):
    shares = []
    for draw in range(3):
        order = np.random.default_rng(draw).permutation(sorted(people)).tolist()
        known, strangers = order[:count], order[-STRANGERS:]
        shares.append(trial(people, known, strangers, rule, tmp_path / str(draw), sets)[:2])
    known, strangers = np.mean(shares, axis=0)
    print(f"{count} known in {sets}: {known:.1%} dropped, strangers {strangers:.1%}")
    assert known >= least_known
    assert strangers <= most_strangers
