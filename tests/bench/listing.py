"""Plan what is too large to be held: a pack of 17 million records, a TSV of 10 million lines.

Each row is a process of its own that lists the raw data and fixes the plan, as ``fusekit ingest``
does before its first unit. The physical limit beside it reads the same bytes and does nothing.
Memory must not grow with the payload: the second size of each is there to show it.

    PYTHONPATH=tests python tests/bench/listing.py [--rows 17000000] [--keep FOLDER]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

CHILD = """
import json, sys, threading, time
from pathlib import Path
from fusekit.cards.card import load_card
from fusekit.ingest.plan import fix_plan, list_items
from fusekit.readers.registry import open_reader
from fusekit.store.layout import open_store
card, raw, form, store = sys.argv[1:]
peak = 0
def watch():  # memory of its own: pages of a mapped file are the system's to take back
    global peak
    while True:
        status = Path("/proc/self/status").read_text()
        peak = max(peak, int(status.split("RssAnon:")[1].split()[0]))
        time.sleep(0.1)
threading.Thread(target=watch, daemon=True).start()
started = time.perf_counter()
reader = open_reader(load_card(card), Path(raw), form)
listing = list_items(reader, Path(store + ".spool"), raw)
listed = time.perf_counter()
settings = {"unit_size": 8192, "seed": 0, "order": "random"}
storage = open_store(store, create=True)
plan = fix_plan(storage, "bench", {"settings": settings}, listing, {})
print(json.dumps({
    "items": plan.items, "list": listed - started, "plan": time.perf_counter() - listed,
    "memory": peak / 1024,
}))
"""


def write_pack(folder: Path, records: int, payload: int) -> Path:
    """A pack without identity records: scalar labels, keys from 0, every record of one size."""
    folder.mkdir(parents=True)
    length = 24 + payload
    frame = np.dtype([
        ("mark", "<u4"), ("length", "<u4"), ("flag", "<u4"), ("label", "<f4"), ("id", "<u8"),
        ("id2", "<u8"), ("image", f"S{payload + -payload % 4}"),
    ])  # fmt: skip
    assert frame.itemsize == 8 + length + -length % 4
    with (folder / "train.rec").open("wb") as rec, (folder / "train.idx").open("w") as idx:
        for start in range(0, records, 1 << 20):
            keys = np.arange(start, min(start + (1 << 20), records))
            block = np.zeros(len(keys), frame)
            block["mark"], block["length"] = 0xCED7230A, length
            block["label"], block["id"] = keys % 360_232, keys
            block["image"] = b"\xff\xd8\xff" + b"x" * (payload - 3)
            rec.write(block.tobytes())
            idx.writelines(f"{key}\t{key * frame.itemsize}\n" for key in keys.tolist())
    return folder


def write_tsv(folder: Path, lines: int, payload: int) -> Path:
    """MS-Celeb's seven columns; the image's base64 has ``payload`` characters, a multiple of 4."""
    folder.mkdir(parents=True)
    image = "/9j/" + "A" * (payload - 4)
    with (folder / "FaceImageCroppedWithAlignment.tsv").open("w") as file:
        file.writelines(
            f"m.{n // 85:06x}\t{n % 85}\thttp://a.example/{n}.jpg\thttp://a.example/{n}\t"
            f"FaceId-0\tAAAAAAAAAAAAAAAAAAAAAA==\t{image}\n"
            for n in range(lines)
        )
    return folder


def read_through(raw: Path) -> float:
    """Seconds to read every byte and do nothing."""
    started = time.perf_counter()
    buffer = bytearray(1 << 22)
    for path in raw.iterdir():
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    return time.perf_counter() - started


def main() -> None:
    """Lay the raw data, plan it, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=17_000_000)
    parser.add_argument("--keep", type=Path, help="where raw data stays for the next run")
    asked = parser.parse_args()
    rows, lines = asked.rows, asked.rows * 10 // 17
    cases = [
        ("recordio", "recordio", write_pack, rows, 8),
        ("recordio", "recordio", write_pack, rows, 136),
        ("ms1m", "tsv", write_tsv, lines, 16),
        ("ms1m", "tsv", write_tsv, lines, 400),
    ]
    print(f"{'':32} {'items':>11} {'raw MB':>8} {'read s':>7} {'list s':>7} {'us/item':>8} "
          f"{'plan s':>7} {'MB':>6}")  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        for card, form, write, count, payload in cases:
            raw = (asked.keep or Path(scratch)) / f"{form}-{count}-{payload}"
            if not raw.exists():
                write(raw, count, payload)
            size = sum(path.stat().st_size for path in raw.iterdir())
            limit = read_through(raw)
            words = [sys.executable, "-c", CHILD, card, str(raw), form, f"{scratch}/{raw.name}-s"]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            got = json.loads(done.stdout)
            name = f"{form}, {payload} B of payload"
            print(f"{name:32} {got['items']:>11,} {size / 1e6:>8,.0f} {limit:>7.1f} "
                  f"{got['list']:>7.1f} {got['list'] / got['items'] * 1e6:>8.2f} "
                  f"{got['plan']:>7.1f} {got['memory']:>6,.0f}")  # fmt: skip


if __name__ == "__main__":
    main()
