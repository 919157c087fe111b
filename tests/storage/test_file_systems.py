"""File systems without locks, links or a sync of folders, and disks that fail: played where the call is made."""

import errno
import fcntl
import os
import stat
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from pipeline.lake.check import check
from pipeline.views.connection import connect
from pipeline.views.database import write_catalog

KEYS = {"ALIBABA_CLOUD_ACCESS_KEY_ID": "emulator", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "emulator"}


@pytest.fixture
def keys(monkeypatch):
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


def is_below(handle, folder: Path) -> bool:
    number = handle if isinstance(handle, int) else handle.fileno()
    return Path(f"/proc/self/fd/{number}").readlink().is_relative_to(folder)


@pytest.fixture(params=[errno.ENOLCK, errno.EOPNOTSUPP], ids=errno.errorcode.get)
def no_locks(request, monkeypatch, tmp_path):
    """Let the file system of `tmp_path / "data"` have no locks."""
    real = fcntl.flock

    def flock(handle, operation):
        if is_below(handle, tmp_path / "data"):
            raise OSError(request.param, os.strerror(request.param))
        real(handle, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    return os.strerror(request.param)


@pytest.mark.usefixtures("keys")
def test_where_there_are_no_locks_the_error_names_folder_file_system_and_the_way(typed, serve, tmp_path, no_locks):
    code, _, err = typed("run", "--endpoint", serve(images=3).url)

    assert (code, err.count("\n")) == (2, 1), err
    assert "NoLocks: 'data' is on " in err
    assert no_locks in err
    assert "--lock-dir" in err
    assert "None" not in err
    assert not list((tmp_path / "data").rglob("*.parquet"))


@pytest.mark.usefixtures("keys", "no_locks")
def test_a_lock_folder_takes_the_place_of_locks_and_keeps_a_second_writer_out(typed, serve, tmp_path, monkeypatch):
    url, locks = serve(images=3).url, tmp_path / "locks"
    code, _, err = typed("run", "--endpoint", url, "--lock-dir", "locks")
    assert code == 0, err
    (lock,) = locks.iterdir()

    with lock.open("rb+") as held:
        held.write(b"another writer")
        held.flush()
        fcntl.flock(held, fcntl.LOCK_EX)
        for words in (["run", "--endpoint", url], ["prune"], ["compact"], ["rebuild"], ["withdraw", "x/y"]):
            code, _, err = typed(*words, "--lock-dir", "locks")
            assert (code, "locked by another writer" in err) == (5, True), (words, err)
        monkeypatch.setenv("ENS_IMAGES_LOCK_DIR", str(locks))
        assert "locked by another writer" in typed("doctor", "--endpoint", url)[1]
    (tmp_path / "ens-images.toml").write_text('lock_dir = "locks"')
    monkeypatch.delenv("ENS_IMAGES_LOCK_DIR")
    assert typed("prune")[0] == 0
    assert typed("check")[0] == 0


@pytest.mark.usefixtures("keys")
def test_doctor_tells_that_there_are_no_locks(typed, serve, tmp_path, no_locks):
    (tmp_path / "data").mkdir()
    _, out, _ = typed("doctor", "--endpoint", serve(images=3).url)

    assert no_locks in next(line for line in out.splitlines() if line.split()[1] == "lock")


def test_a_database_file_that_another_program_has_locked_is_not_damaged(own_lake):
    write_catalog(own_lake)
    writer = "import duckdb, sys; con = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", writer, str(own_lake / "lake.duckdb")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(duckdb.IOException, match="Could not set lock"):
            duckdb.connect(own_lake / "lake.duckdb", read_only=True)
        findings = [one for one in check(own_lake).findings if "lake.duckdb" in one.location]
        assert connect(own_lake).sql("select count(*) > 0 from images").fetchall() == [(True,)]
        other.communicate()

    assert not findings


def failing_sync(monkeypatch, number: int, *, of_folders: bool, name: str = "") -> None:
    real = os.fsync

    def fsync(handle):
        path = str(Path(f"/proc/self/fd/{handle}").readlink())
        if stat.S_ISDIR(os.fstat(handle).st_mode) == of_folders and name in path:
            raise OSError(number, os.strerror(number))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("of_folders", [False, True])
@pytest.mark.parametrize("name", ["raw/", "lake/", "lake/observations"])
def test_a_disk_that_fails_to_sync_publishes_nothing_and_says_so(typed, serve, monkeypatch, of_folders, name):
    failing_sync(monkeypatch, errno.EIO, of_folders=of_folders, name=name if of_folders else name.partition("/")[0])
    code, _, err = typed("run", "--endpoint", serve(images=3).url)

    assert (code, "DiskFailed: the disk of the lake in 'data' failed" in err) == (6, True), err
    assert "Input/output error" in err


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_syncs_no_folder_is_harmless(typed, serve, monkeypatch, number):
    failing_sync(monkeypatch, number, of_folders=True)
    assert typed("run", "--endpoint", serve(images=3).url)[0] == 0
    assert typed("check")[0] == 0


def test_a_changed_database_file_is_kept_where_there_are_no_links(own_lake, monkeypatch):
    write_catalog(own_lake)
    with duckdb.connect(own_lake / "lake.duckdb") as con:
        con.execute("create table mine as select 42 as answer")

    def link(*_, **__):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    write_catalog(own_lake)
    (kept,) = own_lake.glob("lake-kept-*.duckdb")

    assert duckdb.connect(kept, read_only=True).sql("from mine").fetchall() == [(42,)]
    assert connect(own_lake).sql("select count(*) > 0 from images").fetchall() == [(True,)]
