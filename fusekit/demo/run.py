"""The main job end to end, with the commands that a user would type."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
import pyarrow.parquet as pq

from fusekit.demo.photographs import PEOPLE, check_packages
from fusekit.demo.raw import build_raw, crawl_names
from fusekit.errors import WorkError
from fusekit.loader.loader import MixtureLoader
from fusekit.mixture.mixture import Mixture
from fusekit.progress import Report, silent
from fusekit.report.contact_sheet import Tile, draw_contact_sheet
from fusekit.store import layout

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from fusekit.loader.batch import Batch

DEFAULT_FOLDER: Final = "fusekit-demo"
_SHOWN: Final = 3  # batches whose counts are told
_OVERVIEW: Final = (
    "SELECT dataset, count(*) AS samples, count(DISTINCT identity) AS people, "
    "round(avg(sharpness)) AS sharpness FROM samples GROUP BY ALL ORDER BY dataset"
)


def run_demo(
    folder: str | Path = DEFAULT_FOLDER,
    *,
    say: Callable[[str], None] = lambda line: None,  # noqa: ARG005
    progress: Callable[[], AbstractContextManager[Report]] = lambda: nullcontext(silent),
) -> Path:
    """Run the main job on real photographs: ingest, filter, build a mixture, read batches.

    Every command is run as a user would run it, and what it must give is checked: the known
    person's pictures leave the crawl, the strangers stay, and each batch holds its exact share.

    Args:
        folder: Where the raw data, the store and the contact sheet go.
        say: Told each line of the story.
        progress: Opens the view of downloads and progress of what runs in this process.

    Returns:
        The contact sheet of the first batch, a PNG.

    Raises:
        MissingExtraError: A package that the demo needs is not installed; nothing is written.
        WorkError: A command failed, or gave something else than it must.
        ModelError: A model can't be had.
    """
    check_packages()
    folder = Path(folder)
    store = folder / "store"
    say("Building three small raw datasets from photographs that packages ship.")
    with progress() as report:
        raw = build_raw(folder / "raw", report)
    for command in _commands(raw, store):
        say("")
        say(f"$ fusekit {_shown(command)}")
        _run(command)
    say("")
    say(_check_filter(store))
    mixture = Mixture.open(store / layout.mixture("demo"))
    sheet = folder / "first-batch.png"
    say("")
    say('$ python -c "for batch in fusekit.MixtureLoader(…): …"')
    for line in _one_epoch(mixture, sheet):
        say(line)
    return sheet


def _commands(raw: dict[str, Path], store: Path) -> list[list[str]]:
    to = ["--store", str(store)]
    known = ["--against", "demo-vgg", "--against", "demo-rec"]
    return [
        ["ingest", "vggface2", "--from", str(raw["vggface2"]), "--as", "demo-vgg",
         "--index", "1000", *to],
        ["ingest", "recordio", "--from", str(raw["recordio"]), "--as", "demo-rec", *to],
        ["ingest", "unlabeled", "--from", str(raw["unlabeled"]), "--as", "demo-crawl", *to],
        ["filter", "demo-crawl", *known, *to],
        ["build-mixture", "demo", *to],
        ["sql", _OVERVIEW, *to],
    ]  # fmt: skip


def _shown(command: list[str]) -> str:
    return " ".join(f'"{word}"' if " " in word else word for word in command)


def _run(command: list[str]) -> None:
    sys.stdout.flush()
    done = subprocess.run([sys.executable, "-m", "fusekit", *command], check=False)
    if done.returncode:
        where = f"fusekit {command[0]}"
        raise WorkError(where, f"left with exit code {done.returncode}", "0")


def _check_filter(store: Path) -> str:
    """Check who left the crawl against who is known; the truth is in the demo's own list."""
    kept = pq.read_table(store / layout.mixture("demo") / "unlabeled.parquet", columns=["source"])
    left = set(kept["source"].to_pylist())
    known = set().union(*(crawl_names(p) for p in PEOPLE if p.known))
    strangers = set().union(*(crawl_names(p) for p in PEOPLE if not p.known))
    where = "filter demo-crawl"
    if known & left:
        raise WorkError(where, f"kept {len(known & left)} pictures of a known person", "none")
    if strangers - left:
        raise WorkError(where, f"dropped {len(strangers - left)} pictures of strangers", "none")
    return (
        f"checked: all {len(known)} pictures of the known person left the crawl, "
        f"all {len(strangers)} pictures of strangers stayed"
    )


def _one_epoch(mixture: Mixture, sheet: Path) -> list[str]:
    lines: list[str] = []
    labeled, unlabeled = Counter[int](), 0
    ranges = mixture.class_ranges.tolist()
    with MixtureLoader(mixture, batch_size=None, arrays="numpy", layout="hwc") as loader:
        for step, batch in enumerate(loader):
            if step == 0:
                _save_sheet(mixture, batch, sheet)
            _check_batch(mixture, batch, ranges)
            labeled.update(batch.labels[: batch.n_labeled].tolist())
            unlabeled += len(batch.labels) - batch.n_labeled
            if step < _SHOWN:
                lines.append(
                    f"batch {step}: {batch.n_labeled} labeled + "
                    f"{len(batch.labels) - batch.n_labeled} unlabeled"
                )
    lines.append(
        f"one epoch: {step + 1} full batches, {labeled.total()} labeled samples of "
        f"{len(labeled)} classes, {unlabeled} unlabeled"
    )
    lines.append(f"look at the first batch: {sheet}")
    return lines


def _check_batch(mixture: Mixture, batch: Batch, ranges: list[list[int]]) -> None:
    size = len(batch.labels)
    exact = size - int(size * mixture.unlabeled_fraction)
    if batch.n_labeled != exact:
        where = "batch"
        raise WorkError(where, f"{batch.n_labeled} labeled rows of {size}", str(exact))
    pairs = zip(batch.labels.tolist(), batch.dataset_index.tolist(), strict=True)
    for label, source in list(pairs)[: batch.n_labeled]:
        first, end = ranges[source]
        if not first <= label < end:
            where = "batch"
            raise WorkError(where, f"label {label} of dataset {source}", f"{first} to {end - 1}")


def _save_sheet(mixture: Mixture, batch: Batch, path: Path) -> None:
    people = dict(
        zip(
            mixture.classes["label"].to_pylist(),
            _names(mixture.classes),
            strict=True,
        )
    )
    tiles = [
        Tile(
            image=np.asarray(image),
            title=people.get(label, "unlabeled"),
            note=f"{mixture.sources[source].name}" + (f" #{label}" if label >= 0 else ""),
            group=source,
        )
        for image, label, source in zip(
            batch.images, batch.labels.tolist(), batch.dataset_index.tolist(), strict=True
        )
    ]
    heading = f"first batch: {batch.n_labeled} labeled, {len(tiles) - batch.n_labeled} unlabeled"
    drawn = draw_contact_sheet(tiles, heading)
    data = cv2.imencode(".png", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))[1].tobytes()
    path.write_bytes(data)


def _names(classes: Any) -> list[str]:  # noqa: ANN401 - a pyarrow table
    rows = zip(classes["name"].to_pylist(), classes["identity"].to_pylist(), strict=True)
    return [(name or identity).replace("_", " ") for name, identity in rows]
