"""A compacted lake of very many observations, made directly: its newest runs are compacted, and a past is put before.

    the newest runs    real files and a real compaction
    the past           rows of compacted records, names in the manifest, and daily files that are links to a few

What opening costs by the number of runs and observations is the same as if each of them had been published.
"""

from __future__ import annotations

import datetime as dt
import itertools
import os
import shutil
from typing import TYPE_CHECKING, Final

import duckdb
import msgspec
import pyarrow.parquet as pq
from lake_builder import commit_again, disk_sums, image, write_record

from pipeline.lake.committed_digests import COMMITTED_FILES, encode_digests
from pipeline.lake.compaction.compact import compact
from pipeline.lake.compaction.manifest import COMPACTED, RECORDS, compacted_path, manifest_path, newest_manifest
from pipeline.lake.format import write_format
from pipeline.lake.layout import table_path
from pipeline.resources.control import OBSERVATIONS, RAW_PAGES, REJECTS
from pipeline.resources.images import IMAGE_DISKS, IMAGES
from pipeline.storage.digest import FileDigest, digest_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FIRST: Final = dt.datetime(2016, 1, 1, 2)  # noqa: DTZ001  (UTC without a zone, as everywhere)
LINKS: Final = 1000
"""Names that a file is given, where a file system bounds them."""
TABLES: Final = (IMAGES, IMAGE_DISKS, REJECTS)


def made_compacted(data: Path, days: int, machines: int, accounts: int, *, image_count: int = 10) -> None:
    """Generate a lake of a run a day by each machine, of `accounts` accounts each; the last day has images."""
    last = FIRST + dt.timedelta(days=days - 1)
    for machine in range(machines):
        _write_run(data, last + dt.timedelta(minutes=machine), machine, accounts, image_count)
    write_format(data)
    compact(data)
    _put_before(data, days - 1, machines, accounts)


def names(machine: int, accounts: int) -> list[str]:
    """The accounts of a machine."""
    return [f"account-{machine:02}-{number:05}" for number in range(accounts)]


def run_id(at: dt.datetime) -> str:
    """The id of the run that began at an instant."""
    return f"{at:%Y%m%dT%H%M%S}Z"


def _write_run(data: Path, at: dt.datetime, machine: int, accounts: int, image_count: int) -> None:
    seen = [image(f"m-{number:03}", 40, region_id=f"cn-{number % 3}") for number in range(image_count)]
    rows = {
        IMAGES: [{k: v for k, v in row.items() if k != "disks"} | disk_sums(row) for row in seen],
        IMAGE_DISKS: [{"image_id": row["image_id"], "disk_number": 1, **row["disks"][0]} for row in seen],
        REJECTS: [],
    }
    run = run_id(at)
    for table, found in rows.items():
        content = [
            {"account": name, "observed_at_utc": at, **row} for name in names(machine, accounts) for row in found
        ]
        path = _made_folder(table_path(data, table, run, at.date()))
        pq.write_table(table.to_arrow(content), path, compression="zstd")
    pq.write_table(RAW_PAGES.to_arrow([]), _made_folder(_raw(data, at)))
    record = _made_folder(table_path(data, OBSERVATIONS, run, at.date()))
    counts = {"item_count": image_count, "child_item_count": image_count, "reject_count": 0, "unknown_field_count": 0}
    common = {
        "resource": "images",
        "observed_at_utc": at,
        "run_id": run,
        "is_published": True,
        "certificate": "verified",
    }
    published = [{"account": name, "certificate": "verified", **common, **counts} for name in names(machine, accounts)]
    pq.write_table(OBSERVATIONS.to_arrow(published), record)
    commit_again(record)


def _made_folder(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _raw(data: Path, at: dt.datetime) -> Path:
    return data / "raw" / f"observed_on={at:%Y-%m-%d}" / f"{run_id(at)}.parquet"


def _put_before(data: Path, days: int, machines: int, accounts: int) -> None:
    """Put the past before the compacted runs: daily files, compacted records, the manifest."""
    instants = [FIRST + dt.timedelta(days=day, minutes=machine) for day in range(days) for machine in range(machines)]
    digests = _link_files(data, instants)
    for machine in range(machines):
        write_middle_record(data, days, machine, accounts, encode_digests(digests))
    manifest = newest_manifest(data)
    assert manifest is not None
    records = compacted_path(data, RECORDS, manifest.name)
    _write_records(records, days, machines, accounts, encode_digests(digests))
    groups = [tuple((name, "images") for name in names(machine, accounts)) for machine in range(machines)]
    before = {run_id(at): group for at, group in zip(instants, itertools.cycle(groups), strict=False)}
    path = manifest_path(data, manifest.name)
    path.write_bytes(
        msgspec.structs.replace(
            manifest,
            covered=before | manifest.covered,
            runs={run_id(at): at.date() for at in instants} | manifest.runs,
            digests={**manifest.digests, f"{RECORDS}/{manifest.name}": digest_of(records)},
        ).encoded()
    )


def middle(days: int) -> dt.datetime:
    """The day whose commit records are real: of its end a lake can be read."""
    return FIRST + dt.timedelta(days=days // 2)


def write_middle_record(data: Path, days: int, machine: int, accounts: int, digests: str) -> None:
    """Write a real commit record in the place of a link."""
    at = middle(days) + dt.timedelta(minutes=machine)
    path = table_path(data, OBSERVATIONS, run_id(at), at.date())
    path.unlink()
    common = {"resource": "images", "observed_at_utc": at, "run_id": run_id(at), "is_published": True}
    common |= {"certificate": "verified", "item_count": 0, "child_item_count": 0, "reject_count": 0}
    published = [{"account": name, **common, COMMITTED_FILES: digests} for name in names(machine, accounts)]
    write_record(path, OBSERVATIONS.to_arrow(published), path.name)


def _link_files(data: Path, instants: list[dt.datetime]) -> dict[str, FileDigest]:
    """Give each run its daily files: links to files without a row. Returns: their digests."""
    content = data / "content"
    content.mkdir()
    for table in (*TABLES, RAW_PAGES):
        pq.write_table(table.to_arrow([]), content / table.name)
    write_record(content / OBSERVATIONS.name, OBSERVATIONS.to_arrow([]), "any")
    digests = {table.name: digest_of(content / table.name) for table in (*TABLES, RAW_PAGES)}
    folders: set[Path] = set()
    for table in (*TABLES, OBSERVATIONS, RAW_PAGES):
        for path, linked in zip(_paths(data, table.name, instants), itertools.count(), strict=False):
            if path.parent not in folders:
                path.parent.mkdir(parents=True, exist_ok=True)
                folders.add(path.parent)
            if linked % LINKS == 0:
                source = path
                shutil.copy(content / table.name, path)
            else:
                os.link(source, path)
    shutil.rmtree(content)
    return digests


def _paths(data: Path, table: str, instants: list[dt.datetime]) -> Iterator[Path]:
    root = data / "raw" if table == RAW_PAGES.name else data / "lake" / table
    return (root / f"observed_on={at:%Y-%m-%d}" / f"{run_id(at)}.parquet" for at in instants)


def _write_records(path: Path, days: int, machines: int, accounts: int, digests: str) -> None:
    """Put the rows of the past before those of a file of compacted records."""
    values = {
        "run_id": "strftime(began, '%Y%m%dT%H%M%SZ')",
        "account": "printf('account-%02d-%05d', machine, number)",
        "resource": "'images'",
        "observed_at_utc": "began",
        "observed_on": "cast(began as date)",
        "is_published": "true",
        "certificate": "'verified'",
        COMMITTED_FILES: "$1",
        **dict.fromkeys(("item_count", "child_item_count", "reject_count", "unknown_field_count"), "0"),
    }
    columns = ", ".join(
        f"cast({values.get(column.name, 'null')} as {column.duckdb_type}) as {column.name}"
        for column in COMPACTED[RECORDS].columns
    )
    staged = path.with_suffix(".staged")
    with duckdb.connect() as con:
        con.execute("set memory_limit = '2GB'; set preserve_insertion_order = true").fetchall()
        con.execute(
            f"""
            copy (
                select {columns} from (
                    select
                        timestamp '{FIRST}' + to_days(cast(day as integer)) + to_minutes(machine) as began,
                        machine,
                        number
                    from range({days}) as a(day), range({machines}) as b(machine), range({accounts}) as c(number)
                )
                union all by name
                from read_parquet('{path}')
            ) to '{staged}' (format parquet, compression zstd, row_group_size 65536)""",  # noqa: S608
            [digests],
        ).fetchall()
    staged.replace(path)
