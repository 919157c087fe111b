"""How a lake goes to years of many accounts: what listing, opening, queries and compaction cost by the number of runs.

    make scale                                    what docs/scale.md tells: half an hour, and 4 GB aside
    python tests/harness/scale.py --runs 1000 --bucket-runs 1000

The runs are real commit records, each with the files of its tables: without images, so that what is measured is what
the number of runs costs, but for the last run of each machine, which "now" is read from. Each step runs in a process
of its own, whose memory is told; one that takes longer than `--limit` is ended.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
from compacted_lake import made_compacted, middle
from lake_builder import commit_again, disk_sums, image
from objects import counted_requests, upload
from s3_server import BUCKET, s3_server

from pipeline import connect
from pipeline.lake.committed import committed_files
from pipeline.lake.compaction.compact import compact
from pipeline.lake.compaction.manifest import Manifest
from pipeline.lake.file_set import FileSet
from pipeline.lake.layout import table_path
from pipeline.resources.control import OBSERVATIONS, REJECTS
from pipeline.resources.images import IMAGE_DISKS, IMAGES
from pipeline.resources.tables import tables_of
from pipeline.storage.store import open_location, store_of
from pipeline.views.database import write_catalog

MACHINES = 27
"""They run once a day each, so that ten years are 100,000 runs."""
IMAGE_COUNT = 10
FIRST = dt.datetime(2016, 1, 1, 2)  # noqa: DTZ001  (UTC without a zone, as everywhere)
LINKS = 1000
"""Names that a file without a row is given, where a file system bounds them."""


def made(data: Path, runs: int, accounts: int) -> None:
    """Generate the lake: `runs` runs of `accounts` accounts each."""
    jobs = [(data, first, min(first + LINKS, runs), runs, accounts) for first in range(0, runs, LINKS)]
    with ProcessPoolExecutor() as pool:
        list(pool.map(_write, jobs))
    (data / "lake" / "format").write_text("1\n", "ascii")


def _write(job: tuple[Path, int, int, int, int]) -> None:
    data, first, end, runs, accounts = job
    empty = {}
    for number in range(first, end):
        day, machine = divmod(number, MACHINES)
        at = FIRST + dt.timedelta(days=day, minutes=machine)
        run_id = f"{at:%Y%m%dT%H%M%S}Z"
        count = IMAGE_COUNT if number >= runs - MACHINES else 0
        names = [f"account-{machine:02}-{number:05}" for number in range(accounts)]
        record = {"observed_at_utc": at, "run_id": run_id, "is_published": True, "certificate": "verified",
                  "item_count": count, "child_item_count": count, "reject_count": 0,
                  "unknown_field_count": 0}  # fmt: skip
        seen = [image(f"m-{number:03}", 40, region_id=f"cn-{number % 3}") for number in range(count)]
        rows: dict[str, list[dict[str, Any]]] = {
            OBSERVATIONS.name: [{"account": name, **record} for name in names],
            IMAGES.name: [
                {
                    "account": name,
                    "observed_at_utc": at,
                    **{k: v for k, v in row.items() if k != "disks"},
                    **disk_sums(row),
                }
                for name in names
                for row in seen
            ],
            IMAGE_DISKS.name: [
                {
                    "account": name,
                    "observed_at_utc": at,
                    "image_id": row["image_id"],
                    "disk_number": 1,
                    **row["disks"][0],
                }
                for name in names
                for row in seen
            ],
            REJECTS.name: [],
        }
        for table in (*tables_of({"images"}), OBSERVATIONS):
            path = table_path(data, table, run_id, at.date())
            path.parent.mkdir(parents=True, exist_ok=True)
            if not rows[table.name] and table.name in empty:
                os.link(empty[table.name], path)
                continue
            pq.write_table(table.to_arrow(rows[table.name]), path, compression="zstd")
            if table is OBSERVATIONS:
                commit_again(path)
            if not rows[table.name]:
                empty[table.name] = path


# ── what is measured, each in a process of its own ───────────────────────────


def step(name: str, data: str) -> dict[str, Any]:
    """Do one step. Returns: seconds and MiB, and a count or two."""
    where = open_location(data)
    began = time.perf_counter()
    said: dict[str, Any] = {}
    if name == "list":
        said["files"] = sum(map(len, committed_files(where).daily.values()))
    elif name == "open":
        connect(data).close()
    elif name.startswith("as of "):
        connect(data, as_of=name.removeprefix("as of ")).close()
    elif name in {"ask", "history"}:
        sql = (
            "from capacity_by_region" if name == "ask" else "select count(*), count(distinct run_id) from observations"
        )
        with connect(data) as con:
            began = time.perf_counter()
            con.execute(sql).fetchall()
    elif name == "catalog":
        write_catalog(data)
    elif name == "compact":
        said["compactions"] = len(compact(where))
        said["not compacted"] = len(FileSet.read(data).daily[OBSERVATIONS.name])
    said["seconds"] = round(time.perf_counter() - began, 3)
    said["mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return said


def measured(name: str, data: str, limit: float) -> dict[str, Any] | None:
    """Do one step in a process of its own; None: it took too long."""
    try:
        done = subprocess.run(
            [sys.executable, __file__, "--step", name, "--data", data],
            capture_output=True, text=True, timeout=limit, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"failed": f"more than {limit:.0f} s"}
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1][:200]}
    return dict(json.loads(done.stdout))


def told(what: str, runs: int, said: dict[str, Any]) -> None:
    """Print a line of the table."""
    more = ", ".join(f"{key} {value}" for key, value in said.items() if key not in {"seconds", "mib"} and value)
    print(f"| {runs:,} | {what} | {said.get('seconds', '')} | {said.get('mib', '')} | {more} |", flush=True)  # noqa: T201


STEPS = (
    ("list", "list the files"),
    ("open", "`connect`"),
    ("ask", "latest capacity by region, connected"),
    ("history", "count all commit records, connected"),
)


def in_a_folder(runs: int, accounts: int, limit: float, *, compacts: bool) -> None:
    """Measure a lake in a folder: before and after compaction."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        began = time.perf_counter()
        made(data, runs, accounts)
        records = list((data / "lake" / OBSERVATIONS.name).rglob("*.parquet"))
        size = sum(path.stat().st_size for path in records)
        told("made", runs, {"seconds": round(time.perf_counter() - began, 1), "bytes of commit records": size})
        for name, what in STEPS:
            told(what, runs, measured(name, folder, limit))
        if not compacts:
            return
        told("compact all", runs, measured("compact", folder, limit))
        compacted = sum(path.stat().st_size for path in (data / "lake" / "compacted_observations").glob("*.parquet"))
        record = sum(path.stat().st_size for path in (data / "lake" / "manifests").glob("*.json"))
        told("of that", runs, {"bytes of compacted records": compacted, "bytes of the manifest": record})
        for name, what in (*STEPS, ("catalog", "write the catalog"), ("open", "`connect` by the catalog")):
            told(f"{what}, compacted", runs, measured(name, folder, limit))


def compacted_in_a_folder(days: int, machines: int, accounts: int, limit: float) -> None:
    """Measure opening a compacted lake of many runs or accounts, without its catalog."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        with ProcessPoolExecutor(1) as pool:  # else its memory would count as that of the steps
            pool.submit(made_compacted, data, days, machines, accounts).result()
        what = f"{machines} runs a day of {accounts:,} accounts, compacted"
        for name, said in (
            ("open", "`connect`, the first"),
            ("open", "`connect`"),
            (f"as of {middle(days - 1):%F}", "`connect(as_of=…)`"),
            ("ask", "latest capacity by region, connected"),
            ("catalog", "write the catalog"),
            ("open", "`connect` by the catalog"),
        ):
            told(f"{said}; {what}", days * machines, measured(name, folder, limit))


def compacted_in_a_bucket(days: int, limit: float) -> None:
    """Measure the requests of opening a compacted lake that was copied there, each time by a new machine."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(s3_server(folder / "s3"))
        with ProcessPoolExecutor(1) as pool:
            pool.submit(made_compacted, folder / "lake", days, 1, 1, image_count=300).result()
        lake = f"s3://{BUCKET}/scale"
        upload(folder / "lake", lake)
        for name, what in (
            ("open", "`connect`, without a state object"),
            ("catalog", "put the state object"),
            ("open", "`connect`"),
            ("ask", "latest capacity by region"),
        ):
            os.environ["XDG_CACHE_HOME"] = stack.enter_context(tempfile.TemporaryDirectory())
            told(f"{what}, compacted, in {server.name}", days, measured(name, lake, limit))


def in_a_bucket(runs: int, accounts: int, limit: float) -> None:
    """Measure a lake in a bucket, not compacted."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(s3_server(folder / "s3"))
        made(folder / "lake", runs, accounts)
        began = time.perf_counter()
        lake = f"s3://{BUCKET}/scale"
        paths = [path for path in (folder / "lake").rglob("*") if path.is_file()]
        upload(folder / "lake", lake)
        told(f"put into {server.name}", runs, {"seconds": round(time.perf_counter() - began, 1), "objects": len(paths)})
        for name, what in STEPS:
            told(f"{what}, in the bucket", runs, measured(name, lake, limit))


def of_a_manifest(runs: int, accounts: int) -> None:
    """Measure a manifest by itself: every connection reads it, and every compaction writes it."""
    names = tuple((f"account-{number:05}", "images") for number in range(accounts))
    days = {f"{FIRST + dt.timedelta(minutes=minute):%Y%m%dT%H%M%S}Z": FIRST.date() for minute in range(runs)}
    said = msgspec.json.encode(Manifest("000001", dict.fromkeys(days, names), days))
    began = time.perf_counter()
    msgspec.json.decode(said, type=Manifest)
    seconds = round(time.perf_counter() - began, 2)
    told(f"read a manifest, {accounts:,} accounts a run", runs, {"seconds": seconds, "bytes": len(said)})


def main() -> None:
    """Measure, and print a table."""
    given = argparse.ArgumentParser()
    given.add_argument("--runs", type=int, nargs="*", default=[1_000, 10_000, 100_000])
    given.add_argument("--bucket-runs", type=int, nargs="*", default=[])
    given.add_argument("--accounts", type=int, default=1, help="in each run")
    given.add_argument("--limit", type=float, default=600, help="seconds of a step")
    given.add_argument("--no-compact", action="store_true")
    given.add_argument("--compacted", nargs="*", default=[], help="days:machines:accounts of a lake that is compacted")
    given.add_argument("--compacted-bucket-days", type=int, nargs="*", default=[])
    given.add_argument("--step")
    given.add_argument("--data")
    said = given.parse_args()
    if said.step:
        is_local = store_of(open_location(said.data)).is_local
        with nullcontext() if is_local else counted_requests() as traffic:
            measures = step(said.step, said.data)
        print(json.dumps({**measures, "traffic": traffic}, default=str))  # noqa: T201
        return
    print(f"Accounts in a run: {said.accounts}\n")  # noqa: T201
    print("| runs | what | seconds | MiB | |\n| --: | --- | --: | --: | --- |", flush=True)  # noqa: T201
    for runs in said.runs:
        in_a_folder(runs, said.accounts, said.limit, compacts=not said.no_compact)
    for shape in said.compacted:
        days, machines, accounts = map(int, shape.split(":"))
        compacted_in_a_folder(days, machines, accounts, said.limit)
    for days in said.compacted_bucket_days:
        compacted_in_a_bucket(days, said.limit)
    if not said.no_compact:
        of_a_manifest(100_000, 1)
        of_a_manifest(365, 10_000)
    for runs in said.bucket_runs:
        in_a_bucket(runs, said.accounts, said.limit)


if __name__ == "__main__":
    main()
