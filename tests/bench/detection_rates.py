"""Print the detection rates on the shared photographs as a Markdown table.

    python tests/bench/detection_rates.py [--detector retinaface-mnet025] [--min-score 0.6]

Every file of a set is an item, as ``fusekit ingest`` takes it; one whose best face stays under the
score is rejected.
"""

import argparse
import os
import time
from collections import Counter
from pathlib import Path

from fusekit.errors import ItemError
from fusekit.faces.detect import open_detector
from fusekit.faces.image import decode_image
from fusekit.models.registry import resolve_model

REPOSITORY = Path(__file__).parents[2]
SHARED = Path(os.environ.get("FUSEKIT_SHARED", REPOSITORY.parent / "shared"))
SETS = {
    "PinsFace (part)": "pins",
    "CelebA in the wild (part)": "celeba/img_celeba",
    "five celebrities": "five_celebs",
    "VGGFace2 samples": "vggface2",
    "LFW deep-funneled (part)": "lfw/lfw-deepfunneled",
    "web photographs": "unlabeled_deepface",
    "CFP placeholders (text files)": "cfp_protocol/Data",
}
NO_ITEMS = {".csv", ".txt"}  # lists that lie beside the pictures


def rate(folder: Path, detector, min_score: float) -> tuple[Counter, int, float]:
    """Count a set's items by outcome; also its faces, and the milliseconds an item took."""
    outcomes, faces, start = Counter(), 0, time.perf_counter()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if path.suffix.lower() in NO_ITEMS:
            continue
        try:
            found = detector.detect(decode_image(path.read_bytes(), path.name))
        except ItemError as error:
            outcomes[error.reason] += 1
            continue
        good = int((found.scores >= min_score).sum())
        faces += good
        outcomes["kept" if good else "low_score" if len(found) else "no_face"] += 1
    return outcomes, faces, 1000 * (time.perf_counter() - start) / max(1, outcomes.total())


def main() -> None:
    """Print one row a set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--detector", default="retinaface-mnet025")
    parser.add_argument("--min-score", type=float, default=0.6)
    arguments = parser.parse_args()
    detector = open_detector(resolve_model(arguments.detector, "detect"))
    print("| set | items | kept | rate % | faces | rejected | ms an item |")
    print("|---|---:|---:|---:|---:|---|---:|")
    for title, folder in SETS.items():
        outcomes, faces, each = rate(SHARED / "faces" / folder, detector, arguments.min_score)
        items, kept = outcomes.total(), outcomes.pop("kept", 0)
        rejected = ", ".join(f"{reason} {n}" for reason, n in sorted(outcomes.items())) or "none"
        share = 100 * kept / max(1, items)
        print(f"| {title} | {items} | {kept} | {share:.1f} | {faces} | {rejected} | {each:.1f} |")


if __name__ == "__main__":
    main()
