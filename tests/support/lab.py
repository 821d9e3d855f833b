"""Real aligned crops of the shared photographs, for tests and benchmarks marked so."""

from pathlib import Path

from fusekit.formats.frames import read_frame
from fusekit.formats.recordio import read_index, unpack_record


def lab_crops(shared: Path, pack: str, per_person: int | None = None) -> dict[str, list[bytes]]:
    """Read a pack of aligned crops.

    Args:
        shared: The folder of shared photographs.
        pack: Its folder under ``faces/lab``.
        per_person: Most images of a person, the first ones; None for all.

    Returns:
        Label to the encoded crops, in the pack's order.
    """
    folder = shared / "faces" / "lab" / pack
    people: dict[str, list[bytes]] = {}
    with (folder / "train.rec").open("rb") as file:
        for offset in sorted(read_index(folder / "train.idx")[1].tolist()):
            header, image = unpack_record(read_frame(file, offset, pack), pack)
            crops = people.setdefault(f"{int(header.labels[0]):03d}", []) if len(image) else []
            if len(image) and len(crops) < (per_person or 1 << 30):
                crops.append(bytes(image))
    return people
