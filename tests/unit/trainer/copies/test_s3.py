"""Copies in a bucket of a local S3 server; runs where ``s3fs`` and ``moto[server]`` are installed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.trainer.copies.written import Attested
from trainmaster.trainer.copies.copying import Copying, copies_in
from trainmaster.trainer.copies.place import CopyError, Folder, below
from trainmaster.trainer.copies.taking_back import take_back_if_lost

pytest.importorskip("s3fs", reason="pip install s3fs 'moto[server]'")
server = pytest.importorskip("moto.server", reason="pip install s3fs 'moto[server]'")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    import s3fs

    running = server.ThreadedMotoServer(port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    s3fs.S3FileSystem.clear_instance_cache()
    name = tmp_path.name.replace("_", "-")[-40:]
    s3fs.S3FileSystem().mkdir(name)
    yield f"s3://{name}/ours"
    s3fs.S3FileSystem.clear_instance_cache()
    running.stop()


def test_a_run_comes_back_from_a_bucket(bucket: str, tmp_path: Path) -> None:
    run = Attested(tmp_path / "runs" / "night")
    for epoch in range(1, 6):
        run.epoch(epoch)
        Copying(run.layout, Folder(below(bucket, "night")), keep=2).look()
    assert sorted({one.row.epoch for one in copies_in(Folder(below(bucket, "night")))}) == [4, 5]
    before = run.layout.state_file(5).read_bytes()
    shutil.rmtree(run.layout.root)
    assert take_back_if_lost(run.layout.root, {"COPY_TO": bucket}) is not None
    assert run.layout.state_file(5).read_bytes() == before


def test_a_bucket_that_is_not_there_is_told(bucket: str, tmp_path: Path) -> None:
    run = Attested(tmp_path / "runs" / "night")
    run.epoch(1)
    with pytest.raises(CopyError):
        Copying(run.layout, Folder("s3://nobodys-bucket/x/night"), keep=2).look()


def test_a_run_with_two_colons_in_its_name_comes_back_from_a_bucket(bucket: str, tmp_path: Path) -> None:
    run = Attested(tmp_path / "runs" / "a::b")
    run.epoch(1)
    Copying(run.layout, Folder(below(bucket, "a::b")), keep=2).look()
    shutil.rmtree(run.layout.root)
    assert take_back_if_lost(run.layout.root, {"COPY_TO": bucket}) is not None


def test_what_a_killed_one_was_sending_long_ago_is_taken_out_of_the_bucket(bucket: str, tmp_path: Path) -> None:
    import s3fs

    run = Attested(tmp_path / "runs" / "night")
    run.epoch(1)
    store, name = s3fs.S3FileSystem(), bucket.split("/")[2]
    for key in ("ours/night/files/epoch0001.pt-0", "others/epoch0001.pt"):
        store.call_s3("create_multipart_upload", Bucket=name, Key=key)  # moto says that it began years ago
    Copying(run.layout, Folder(below(bucket, "night")), keep=2).look()
    assert [one["Key"] for one in store.list_multipart_uploads(name)] == ["others/epoch0001.pt"]
