"""What a stranger's picture may not do to a store."""

from support.raw import draw_jpeg, write_files

from fusekit.ingest.dataset import ingest_dataset


def test_a_crop_with_megabytes_behind_its_end_does_not_pass_through(tmp_path):
    crop = draw_jpeg(1)
    files = {"0_0_0000000/0_0.jpg": crop, "0_0_0000000/0_1.jpg": crop + bytes(2 << 20)}
    write_files(tmp_path / "raw", files)
    result = ingest_dataset(
        "webface4m", form="crops", raw=tmp_path / "raw", store=tmp_path / "store", workers=0
    )
    assert (result.kept, result.rejects) == (1, {"too_large": 1})
