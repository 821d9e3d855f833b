"""Which folders may be mapped: those that are known to be on this machine's disks."""

from pathlib import Path

import pytest

from fusekit.loader.crops import files
from fusekit.loader.crops.files import ShardFiles
from fusekit.loader.crops.mounts import is_local

TABLE = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /home rw shared:2 - nfs4 server:/home rw
31 30 8:2 / /home/me/local\\040disk rw - xfs /dev/sdb1 rw
32 22 0:41 / /mnt/s3 rw - fuse.s3fs s3fs rw
33 22 0:42 / /scratch rw - lustre mds:/fs rw
34 22 0:43 / /over rw - nfs server:/over rw
35 22 0:44 / /over rw - tmpfs none rw
"""


@pytest.mark.parametrize(
    ("folder", "local"),
    [
        ("/data/store", True),
        ("/home/me/store", False),
        ("/home/me/local disk/store", True),
        ("/home/me/local", False),
        ("/homework", True),
        ("/mnt/s3", False),
        ("/scratch/store", False),
        ("/over/store", True),
        ("/", True),
    ],
)
def test_the_nearest_mount_and_its_type_decide(tmp_path, folder, local):
    table = tmp_path / "mountinfo"
    table.write_text(TABLE)
    assert is_local(Path(folder), table) is local


def test_where_there_is_no_table_nothing_is_known_to_be_local(tmp_path):
    assert not is_local(Path("/data"), tmp_path / "missing")
    (tmp_path / "odd").write_text("no table\n\n")
    assert not is_local(Path("/data"), tmp_path / "odd")


@pytest.mark.parametrize("local", [True, False])
def test_shards_elsewhere_are_read_by_calls(tmp_path, monkeypatch, local):
    monkeypatch.setattr(files, "is_local", lambda _: local)
    (tmp_path / "0.tar").write_bytes(bytes(range(100)))
    shards = ShardFiles([tmp_path / "0.tar"])
    data = shards.view(0, 90, 20)
    assert bytes(data) == bytes(range(90, 100))
    assert isinstance(data, memoryview if local else bytes)
