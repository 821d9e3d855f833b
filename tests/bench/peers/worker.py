"""One side of the loader's benchmark, in a process and an environment of its own.

    python tests/bench/peers/worker.py NAME FOLDER

Runs ``with_NAME.py`` beside this file. Every line of the input is a JSON object, every line of
the output its answer, so that many sides can stay open and take turns:

    {"do": "about"}                 {"version": "1.2", "variants": [{"workers": 0}, ...]}
    {"do": "convert"}               {}            FOLDER/crops into the side's own format
    {"do": "open", "variant": {}}   {}
    {"do": "run"}                   {"count": 40000, "seconds": 3.1, "cpu": 6.0}
    {"do": "run", "most": 12000}    a trial on a part of a pass

A side that fails answers ``{"error": "..."}``. A ``with_NAME.py`` has ``PACKAGE``,
``variants(cpus)``, ``convert(crops, folder)`` and ``open_batches(folder, **variant)``, which gives
a function: each call gives the batches of one pass, ``(images, labels)``.
"""

import json
import os
import sys
import time
import traceback
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import numpy as np

TICKS = os.sysconf("SC_CLK_TCK")


class Crops:
    """The crops that every side converts: ``(jpeg, label)`` in a random order.

    Attributes:
        count: How many.
        labels: Of each, -1: unlabeled.
    """

    def __init__(self, folder: Path) -> None:
        table = np.load(folder / "table.npz")
        self.labels, self._ends = table["labels"], table["ends"]
        self._data = np.memmap(folder / "images.bin", np.uint8, "r")
        self.count = len(self.labels)

    def __iter__(self):
        start = 0
        for end, label in zip(self._ends.tolist(), self.labels.tolist(), strict=True):
            yield self._data[start:end].tobytes(), label
            start = end


def tree_seconds() -> float:
    """CPU seconds of this process, its living children and theirs, and those it waited for."""
    parents, ticks = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile; its parent has its time
        pid = int(path.parent.name)
        parents[pid], ticks[pid] = int(fields[1]), sum(map(int, fields[11:15]))
    mine = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in mine} - mine:
        mine |= more
    return sum(ticks[pid] for pid in mine) / TICKS


def run(batches, most=None) -> dict[str, float]:
    """Consume one pass and do nothing with it.

    With ``most`` it is a trial: that many crops, after a third as many that are not on the clock,
    so that neither the start of worker processes counts nor what they made ahead meanwhile.
    """
    count, cpu, start = 0, tree_seconds(), time.perf_counter()
    ahead, checked = (most or 0) // 3, False
    for images, labels in batches():
        if not checked:
            check(images, labels)
            checked = True
        if ahead > 0:
            ahead -= len(images)
            cpu, start = tree_seconds(), time.perf_counter()
            continue
        count += len(images)
        if most and count >= most:
            break
    seconds = time.perf_counter() - start
    if not count:
        raise ValueError("a pass without a batch")
    return {"count": count, "seconds": seconds, "cpu": tree_seconds() - cpu}


def check(images, labels) -> None:
    """Every side must hand out the same: stacked uint8 crops and a label of each."""
    if str(images.dtype).rpartition(".")[2] != "uint8" or len(labels) != len(images):
        raise TypeError(f"a batch of {images.dtype} with {len(labels)} labels")
    if tuple(images.shape[1:]) not in {(112, 112, 3), (3, 112, 112)}:
        raise TypeError(f"crops of {tuple(images.shape[1:])}")


def serve(name: str, folder: Path, answers) -> None:
    """Answer line after line."""
    side = batches = None
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            side = side or import_module(f"with_{name}")
            answer = {}
            if asked["do"] == "about":
                cpus = len(os.sched_getaffinity(0))
                answer = {
                    "version": side.PACKAGE and version(side.PACKAGE),
                    "variants": side.variants(cpus),
                }
            elif asked["do"] == "convert":
                (folder / name).mkdir()
                side.convert(Crops(folder / "crops"), folder / name)
            elif asked["do"] == "open":
                del batches  # the last variant's processes end before the next one's start
                batches = side.open_batches(folder / name, **asked["variant"])
            else:
                answer = run(batches, asked.get("most"))
        except Exception as error:  # noqa: BLE001 - a line of the table says it
            traceback.print_exc()
            text = str(error).strip().partition("\n")[0]
            answer = {"error": f"{type(error).__name__}: {text}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    # What a library prints must not stand among the answers.
    own = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(sys.argv[1], Path(sys.argv[2]), own)
