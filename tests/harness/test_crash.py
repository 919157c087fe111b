"""Killed anywhere, out of room, without access: a reader sees the lake before or after, and the next writer succeeds.

The whole matrix is `make crash`.
"""

import ctypes
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from bucket_crash import BUCKET_WRITERS
from bucket_crash import kill_everywhere as kill_everywhere_in_a_bucket
from crash import (
    CAN_TRACE,
    DAY0,
    WRITERS,
    Scene,
    endpoint,
    in_a_process,
    kill_everywhere,
    live_through,
    seen_by_connect,
    traced,
)

from pipeline import rebuild
from pipeline.errors import DiskFailed, DiskFull, EnsImagesError, NoAccess
from pipeline.extract.raw_pages import raw_paths
from pipeline.jobs.withdrawal import withdraw
from pipeline.lake.check import check
from pipeline.lake.commit import Publication
from pipeline.lake.lock import lock
from pipeline.lake.orphans import orphans
from pipeline.resources.tables import LAKE_TABLES, ROW_TABLES

pytestmark = pytest.mark.skipif(not CAN_TRACE, reason="Linux, on x86-64 or arm64")


@pytest.fixture(scope="module")
def in_memory():
    """A folder where a sync costs nothing: a kill loses nothing that was written, synced or not."""
    root = Path(tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))  # noqa: S108
    yield root
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def url():
    """An endpoint of two accounts, one of 60 images."""
    with endpoint(60, 1) as url:
        yield url


@pytest.fixture(scope="module")
def two_days(tmp_path_factory, url):
    """A lake of two days: not to be written to."""
    data = tmp_path_factory.mktemp("two-days") / "data"

    def live() -> None:
        for day in range(2):
            live_through(data, url, day)

    in_a_process(live)
    return data


# `make crash` kills all, here one of each group. What the first compaction does, the one after it does as well.
SLOW = [writer for writer in WRITERS if writer.name == "retention" or writer.name.endswith("Delta logs")]
OTHERS = [writer for writer in WRITERS if writer not in SLOW and writer.name != "first compaction"]
GROUPS = [SLOW, *(OTHERS[number::6] for number in range(6))]


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: " or ".join(writer.name for writer in group))
def test_a_writer_killed_at_any_step_costs_nothing(in_memory, url, group):
    writer = group[os.getpid() % len(group)]
    found = kill_everywhere(writer, in_memory, url, seed=os.getpid(), limit=2)

    if not found.points[writer.name]:  # the order of threads may end it before both points
        found = kill_everywhere(writer, in_memory, url, seed=os.getpid() + 1, limit=8)

    assert found.wrong == []
    assert found.points[writer.name] >= 1


def test_a_writer_of_a_bucket_killed_at_any_request_costs_nothing(url, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    writer = BUCKET_WRITERS[os.getpid() % len(BUCKET_WRITERS)]
    found = kill_everywhere_in_a_bucket(writer, url, seed=os.getpid(), limit=1)

    assert found.wrong == []
    assert found.points[writer.name] == 1


def test_a_commit_killed_between_two_tables_leaves_no_image_without_its_disks_in_the_folders(in_memory):
    data, run_id = in_memory / "commit", "20261001T020000.000000Z"
    row = {"account": "a", "observed_at_utc": DAY0, "image_id": "m-1", "instance_id": "i-1", "disk_number": 1}
    columns = {table: {column.name for column in table.columns} & row.keys() for table in ROW_TABLES}
    rows = {table: table.to_arrow([{name: row[name] for name in names}]) for table, names in columns.items()}

    def publish():
        publication = Publication(data, run_id, DAY0.date())
        for table in ROW_TABLES:
            publication.add(table, rows[table])
        publication.commit([{"account": "a", "run_id": run_id, "is_published": True}], None)

    steps = traced(publish, data).steps
    renames = [number for number, step in enumerate(steps) if step.startswith("rename")]
    seen = []
    for number in renames:
        shutil.rmtree(data)
        assert traced(publish, data, kill_at=number).was_killed
        seen.append([table.name for table in LAKE_TABLES if list((data / "lake" / table.name).rglob("*.parquet"))])
    tables = [table.name for table in ROW_TABLES]

    assert tables[0] == "images"
    assert seen == [[], *(tables[at:] for at in range(len(tables), -1, -1))]  # the first rename is that of `format`
    assert renames[-2] - renames[1] == len(tables) - 1  # between two tables nothing is written or synced


def test_every_kind_of_step_is_met(in_memory, url):
    steps = set(Scene(WRITERS[0], in_memory / "steps", url).steps)

    assert {"flock", "mkdir", "openat", "write", "pwrite64", "fsync", "rename", "unlink", "rmdir"} <= steps


# ── no room ──────────────────────────────────────────────────────────────────


def error_of(act) -> tuple[str, int]:
    try:
        act()
    except EnsImagesError as error:
        return type(error).__name__, error.exit_code
    return "", 0


@pytest.mark.parametrize("room", [0, 100, 3_000, 9_000, 40_000])
def test_a_file_that_may_not_grow_is_said_and_nothing_is_half_published(tmp_path, two_days, url, room):
    data = Path(shutil.copytree(two_days, tmp_path / "data"))

    def without_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
        return error_of(lambda: live_through(data, url, 2))

    before = in_a_process(lambda: seen_by_connect(data))
    ended = in_a_process(without_room)
    seen = in_a_process(lambda: seen_by_connect(data))
    raw = {path.name for path in raw_paths(data)}
    whole = in_a_process(lambda: [str(finding) for finding in check(data).findings])
    in_a_process(lambda: rebuild(data))

    assert ended == (["", 0] if room == 40_000 else ["DiskFull", 5])  # with 40,000 bytes, only the catalog fails
    assert seen == before or (len(raw) == 3 and whole == [])
    assert seen != before or room < 40_000
    assert orphans(data) == []
    assert in_a_process(lambda: [str(finding) for finding in check(data).findings]) == []


@pytest.fixture
def small_disk(tmp_path):
    """Mount a file system of four megabytes, where that is allowed."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    made = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if not made or made.returncode != 0:
        pytest.skip("mounting is not allowed here")
    yield disk
    subprocess.run([shutil.which("umount") or "umount", "-l", str(disk)], check=True)


def test_a_full_disk_is_said_and_the_next_run_succeeds(small_disk, two_days, url):
    data, filler = Path(shutil.copytree(two_days, small_disk / "data")), small_disk / "filler"
    before = in_a_process(lambda: seen_by_connect(data))
    free = os.statvfs(small_disk).f_bavail * 4096
    for left in range(0, 80_000, 12_000):
        filler.write_bytes(b"\0" * max(0, free - left))
        ended = in_a_process(lambda: error_of(lambda: live_through(data, url, 2)))
        filler.unlink()
        raw = raw_paths(data)
        assert ended in (["DiskFull", 5], ["", 0]), left
        assert in_a_process(lambda: seen_by_connect(data)) == before or len(raw) > 2
        assert orphans(data) == []
        if ended[1] == 0 or len(raw) > 2:
            break
    in_a_process(lambda: live_through(data, url, 3))
    in_a_process(lambda: rebuild(data))

    assert in_a_process(lambda: [str(finding) for finding in check(data).findings]) == []


# ── no access ────────────────────────────────────────────────────────────────


def obey_modes() -> None:
    """Give up root's right to pass over the modes of files, if this is root, for what is executed next."""
    for capability in (1, 2) if os.geteuid() == 0 else ():
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)


def as_a_user(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=obey_modes)


@pytest.fixture(scope="module")
def withdrawn(tmp_path_factory, two_days):
    """The lake of two days with an observation withdrawn: not to be written to."""
    data = Path(shutil.copytree(two_days, tmp_path_factory.mktemp("withdrawn") / "data"))
    in_a_process(lambda: str(withdraw(data, f"{raw_paths(data)[1].stem}/there")))
    return data


@pytest.mark.parametrize(
    ("what", "mode", "command"),
    [
        ("lake/observations/observed_on=2026-10-01", 0o000, "rebuild"),
        ("lake", 0o000, "rebuild"),
        (".lock", 0o000, "rebuild"),
        ("raw/_tombstones.json", 0o000, "check"),
        ("lake/images/observed_on=2026-10-01/20261001T020000.000000Z.parquet", 0o000, "check"),
        ("raw/observed_on=2026-10-01/20261001T020000.000000Z.parquet", 0o000, "check"),
        ("raw", 0o500, "restore"),
    ],
)
def test_what_may_not_be_read_or_written_is_said_and_costs_nothing(tmp_path, withdrawn, what, mode, command):
    data = Path(shutil.copytree(withdrawn, tmp_path / "data"))
    before = in_a_process(lambda: seen_by_connect(data))
    was = (data / what).stat().st_mode
    (data / what).chmod(mode)
    more = (raw_paths(data)[1].stem,) if command == "restore" else ()
    done = as_a_user(command, "--data", str(data), *more)
    (data / what).chmod(was)

    assert (done.returncode, done.stdout) == (6, "")
    assert "Traceback" not in done.stderr
    assert Path(what).name in done.stderr or str(data) in done.stderr
    assert in_a_process(lambda: seen_by_connect(data)) == before
    in_a_process(lambda: rebuild(data))
    assert in_a_process(lambda: [str(finding) for finding in check(data).findings]) == []


def test_errors_of_the_disk_and_of_access_are_told_apart_from_others(tmp_path):
    import errno

    for number, kind in (
        (errno.ENOSPC, DiskFull),
        (errno.EDQUOT, DiskFull),
        (errno.EROFS, NoAccess),
        (errno.EIO, DiskFailed),
        (errno.ENOTDIR, OSError),
    ):
        with pytest.raises(kind), lock(tmp_path):
            raise OSError(number, os.strerror(number))
