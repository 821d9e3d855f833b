"""Measure the filter on real faces: how many known people it drops, and how many strangers.

    python tests/bench/activations.py [SHARED] [MODEL] [IMAGES]

Of the 105 people of the Pins crops, up to 60 are known and 45 others are strangers. Of a known
person's images (at most IMAGES) the first half may be labeled; the unlabeled set holds the other
half and all images of the strangers. Each line is the mean over five draws of the known people,
with the worst draw in brackets. MODEL is a registry name or a file under SHARED.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from support.known_people import STRANGERS, embed_people, trial

PACK = "faces_pins_112x112"
MODEL = "models/mobilefacenet_128d.onnx"
DRAWS = 5
CASES = [(2, 4, 1), (3, 4, 1), (5, 4, 1), (10, 4, 1), (10, None, 1), (30, 4, 1), (30, None, 1),
         (60, 4, 1), (60, None, 1), (60, None, 6)]  # fmt: skip


def main(shared: Path, model: str, per_person: int | None) -> None:
    """Print the table."""
    path = shared / model
    with tempfile.TemporaryDirectory() as top:
        people, result = embed_people(
            shared, PACK, str(path) if path.is_file() else model, Path(top, "all"), per_person
        )
        print(f"{result.samples} crops embedded by {result.model} in {result.seconds:.0f} s\n")
        print("| known | images each | datasets | rule | known dropped | strangers dropped |")
        print("|---|---|---|---|---|---|")
        for case in CASES:
            for rule in ("activation", "two-part"):
                print(line(people, case, rule, Path(top)), flush=True)


def line(people, case, rule, top: Path) -> str:
    """Give one line of the table."""
    count, images, sets = case
    rows = []
    for draw in range(DRAWS):
        order = np.random.default_rng(draw).permutation(sorted(people)).tolist()
        folder = top / f"{count}-{images}-{sets}-{rule}-{draw}"
        known, strangers = order[:count], order[-STRANGERS:]
        rows.append(trial(people, known, strangers, rule, folder, sets, images)[:2])
    known, strangers = np.array(rows).T
    return (
        f"| {count} | {images or 'half'} | {sets} | {rule} | {known.mean():.1%} "
        f"({known.min():.1%}) | {strangers.mean():.1%} ({strangers.max():.1%}) |"
    )


if __name__ == "__main__":
    given = sys.argv[1:] + [None] * 3
    main(Path(given[0] or "../shared"), given[1] or MODEL, int(given[2]) if given[2] else None)
