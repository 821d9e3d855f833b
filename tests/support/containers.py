"""Small datasets in generic containers, laid out as their usual writers do."""

import io
import json
import struct
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import lmdb
import pyarrow as pa
import pyarrow.parquet as pq
from support.raw import draw_jpeg

from fusekit.formats.msgpack import pack_array_head, pack_bytes, pack_int
from fusekit.formats.tfrecord import pack_record

HF_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write_tar(
    path: Path, members: Iterable[tuple[str, bytes]], fmt: int = tarfile.PAX_FORMAT
) -> Path:
    """A tar as Python writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=fmt) as tar:
        for name, data in members:
            about = tarfile.TarInfo(name)
            about.size = len(data)
            tar.addfile(about, io.BytesIO(data))
    return path


def hf_metadata(classes: Mapping[str, list[str]]) -> dict[bytes, bytes]:
    """What Hugging Face writes of a table's columns: ``image``, and class labels."""
    features: dict[str, object] = {"image": {"_type": "Image"}}
    features |= {name: {"names": names, "_type": "ClassLabel"} for name, names in classes.items()}
    return {b"huggingface": json.dumps({"info": {"features": features}}).encode()}


def hf_table(
    images: list[bytes], classes: dict[str, list[str]] | None = None, **columns: object
) -> pa.Table:
    """A table of pictures in Hugging Face's layout."""
    rows = [{"bytes": data, "path": f"{number}.jpg"} for number, data in enumerate(images)]
    table = pa.table({"image": pa.array(rows, HF_IMAGE), **columns})
    return table.replace_schema_metadata(hf_metadata(classes or {}))


def write_parquet(path: Path, table: pa.Table, rows: int = 2) -> Path:
    """A Parquet file with small row groups."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=rows)
    return path


def write_arrow(folder: Path, table: pa.Table) -> Path:
    """A dataset as ``save_to_disk`` leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    with pa.ipc.new_stream(folder / "data-00000-of-00001.arrow", table.schema) as out:
        out.write_table(table, max_chunksize=2)
    files = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}
    (folder / "state.json").write_text(json.dumps(files))
    (folder / "dataset_info.json").write_text("{}")
    return folder


def image_and_label(image: bytes, label: int) -> bytes:
    """A value as ``msgpack.packb((image, label))`` gives it."""
    return pack_array_head(2) + pack_bytes(image) + pack_int(label)


def write_lmdb(path: Path, values: Mapping[bytes, bytes], *, subdir: bool = False) -> Path:
    """An LMDB, written by the library itself."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        lmdb.open(str(path), subdir=subdir, map_size=1 << 30, lock=False) as env,
        env.begin(write=True) as txn,
    ):
        for key, value in values.items():
            txn.put(key, value)
    return path


def labeled_lmdb(path: Path, images: list[tuple[bytes, int]], *, subdir: bool = False) -> Path:
    """Images and labels under numbers, with the entries about the database that writers add."""
    values = {str(n).encode(): image_and_label(*pair) for n, pair in enumerate(images)}
    about = {b"__len__": pack_int(len(images)), b"__classnum__": pack_int(2), b"__keys__": b"\x90"}
    return write_lmdb(path, values | about, subdir=subdir)


def example(features: Mapping[str, bytes | int]) -> bytes:
    """A ``tf.train.Example`` of bytes and whole numbers."""
    entries = []
    for name, value in features.items():
        if isinstance(value, bytes):
            feature = _field(1, _field(1, value))
        else:
            feature = _field(3, _field(1, _varint(value)))
        entries.append(_field(1, _field(1, name.encode()) + _field(2, feature)))
    return _field(1, b"".join(entries))


def write_tfrecords(root: Path, shards: list[list[tuple[str, bytes]]], name: str = "faces") -> Path:
    """TFace's layout: numbered files of Examples, and the index of path, shard and offset."""
    (root / name).mkdir(parents=True, exist_ok=True)
    rows = []
    for number, shard in enumerate(shards):
        with (root / name / f"{name}-{number:05}.tfrecord").open("wb") as file:
            for path, image in shard:
                rows.append(f"{path}\t{number}\t{file.tell()}\n")
                file.write(pack_record(example({"image": image})))
    (root / f"{name}.index").write_text("".join(rows))
    return root


def img2dataset_rows(shard: int = 0) -> list[dict[str, object]]:
    """Two pictures that were fetched and one that was not."""
    base = {"caption": None, "width": 190, "height": 220, "exif": "{}"}
    rows: list[dict[str, object]] = [
        {"url": f"https://example.com/{n}.jpg", "key": f"{shard:05}{n:04}", "status": "success",
         "error_message": None, **base}
        for n in range(3)
    ]  # fmt: skip
    rows[1] |= {"status": "failed_to_download", "error_message": "HTTP Error 404: Not Found"}
    return rows


def write_img2dataset(
    root: Path, images: Mapping[str, bytes], *, files: bool = False, shard: int = 0
) -> Path:
    """A shard of img2dataset's output: tar or folder, table and stats."""
    rows = img2dataset_rows(shard)
    stem = f"{shard:05}"
    members = [
        (f"{row['key']}.{suffix}", data)
        for row in rows
        if row["key"] in images
        for suffix, data in (("jpg", images[str(row["key"])]), ("json", json.dumps(row).encode()))
    ]
    if files:
        (root / stem).mkdir(parents=True)
        for name, data in members:
            (root / stem / name).write_bytes(data)
    else:
        write_tar(root / f"{stem}.tar", members)
    write_parquet(root / f"{stem}.parquet", pa.Table.from_pylist(rows))
    (root / f"{stem}_stats.json").write_text(json.dumps({"count": 3, "successes": 2}))
    return root


def drawn_pairs(labels: list[int]) -> list[tuple[bytes, int]]:
    """A drawn crop for each label."""
    return [(draw_jpeg(seed), label) for seed, label in enumerate(labels)]


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = b""
    while value >= 0x80:
        out += struct.pack("B", value & 0x7F | 0x80)
        value >>= 7
    return out + struct.pack("B", value)
