"""Lakes for the tests: real Parquet in the lake's layout, of whatever images a test writes down."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from pipeline.lake.commit import write_record
from pipeline.lake.committed_digests import COMMITTED_FILES, encode_digests
from pipeline.lake.compaction.manifest import MANIFESTS, RECORDS
from pipeline.resources.control import OBSERVATIONS, RAW_PAGES, REJECTS
from pipeline.resources.images import IMAGE_DISKS, IMAGES
from pipeline.resources.instances import INSTANCES_RESOURCE
from pipeline.resources.tables import ROW_TABLES
from pipeline.storage.digest import OWN_DIGEST, digest_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pyarrow as pa

    from pipeline.resources.schema import Table

Row = dict[str, Any]


def utc(text: str) -> dt.datetime:
    """An instant, such as `2026-10-30 02:00`."""
    return dt.datetime.fromisoformat(text)


def image(image_id: str, *disks: int | Row | None, **fields: Any) -> Row:
    """An image of the account's own, 20 GiB, Available; each disk is its size in GiB, or its fields."""
    row: Row = {
        "image_id": image_id,
        "image_name": f"name of {image_id}",
        "image_owner": "self",
        "status": "Available",
        "platform": "centos",
        "region_id": "cn-wulanchabu",
        "image_size_gib": 20,
        "created_at_utc": utc("2026-01-01 00:00"),
    }
    whole = [disk if isinstance(disk, dict) else {"disk_size_gib": disk} for disk in disks]
    return {**row, **fields, "disks": [{"disk_type": "Data", "disk_format": "qcow2", **disk} for disk in whole]}


def disk_sums(row: Row) -> Row:
    """What the disks of an image come to."""
    sizes = [disk["disk_size_gib"] for disk in row["disks"] if disk.get("disk_size_gib") is not None]
    count = len(row["disks"])
    total = sum(sizes) if sizes else None
    return {"disk_count": count, "unsized_disk_count": count - len(sizes), "disk_size_gib": total}


def instance(instance_id: str, image_id: str | None, **fields: Any) -> Row:
    """An instance that runs from an image, with a system disk of 20 GiB."""
    row: Row = {
        "instance_id": instance_id,
        "instance_name": f"name of {instance_id}",
        "image_id": image_id,
        "status": "Running",
        "region_id": "cn-beijing-cmcc",
        "created_at_utc": utc("2026-02-01 00:00"),
    }
    return {**row, **fields, "disks": [{"disk_type": "system", "disk_size_gib": 20}]}


@dataclass(slots=True)
class Seen:
    """One account in one run: published with its images, or tried in vain; its instances are listed where given."""

    account: str = "default"
    at: str = "2026-10-30 02:00"
    images: Sequence[Row] = ()
    certificate: str | None = "verified"
    error: str | None = None
    rejects: Sequence[Row] = field(default_factory=list)
    unknown_field_count: int = 0
    same_account_as: str | None = None
    instances: Sequence[Row] | None = None
    instances_at: str = ""
    instances_certificate: str = "verified"
    instances_error: str | None = None


def write_run(data: Path, *seen: Seen, began: str | None = None) -> str:
    """Publish one run over these accounts, and land its pages; its id."""
    begin = utc(began or min(one.at for one in seen))
    run_id = f"{begin:%Y%m%dT%H%M%S}Z"
    images, disks, rejects, observations = [], [], [], []
    for one in seen:
        published = one.error is None
        key = {"account": one.account, "observed_at_utc": utc(one.at)}
        for row in one.images if published else ():
            images.append({**key, **{name: value for name, value in row.items() if name != "disks"}, **disk_sums(row)})
            disks += [
                {**key, "image_id": row["image_id"], "disk_number": number, **disk}
                for number, disk in enumerate(row["disks"], start=1)
            ]
        rejects += [{**key, **row} for row in one.rejects]
        observations.append(
            {
                **key,
                "observed_at_utc": utc(one.at) if published else None,
                "run_id": run_id,
                "is_published": published,
                "certificate": one.certificate if published else None,
                "item_count": len(one.images) if published else None,
                "child_item_count": sum(len(row["disks"]) for row in one.images) if published else None,
                "reject_count": _reject_count(one, "images"),
                "unknown_field_count": one.unknown_field_count,
                "error": one.error,
                "same_account_as": one.same_account_as if published else None,
            }
        )
    instances = _instance_rows(seen)
    for table, rows in (
        (IMAGES, images),
        (IMAGE_DISKS, disks),
        *instances.items(),
        (REJECTS, rejects),
        (OBSERVATIONS, observations + _instance_records(seen, run_id)),
    ):
        write_table(data / "lake" / table.name, table, rows, run_id, begin)
    write_table(data / "raw", RAW_PAGES, [{"account": one.account, "body": b"{}"} for one in seen], run_id, begin)
    commit_again(data / "lake" / OBSERVATIONS.name / f"observed_on={begin:%Y-%m-%d}" / f"{run_id}.parquet")
    return run_id


def _reject_count(one: Seen, resource: str) -> int:
    return sum(row.get("resource", "images") == resource for row in one.rejects)


def _instance_rows(seen: Sequence[Seen]) -> dict[Table, list[Row]]:
    """The rows of instances and of their disks; no table where no account published any."""
    table, disks = INSTANCES_RESOURCE.tables
    rows: dict[Table, list[Row]] = {table: [], disks: []}
    published = [one for one in seen if one.instances is not None]
    for one in published:
        key = {"account": one.account, "observed_at_utc": utc(one.instances_at or one.at)}
        for row in one.instances or ():
            values = {name: value for name, value in row.items() if name != "disks"}
            rows[table].append({**key, **values, **disk_sums(row)})
            rows[disks] += [
                {**key, "instance_id": row["instance_id"], "disk_number": number, **disk}
                for number, disk in enumerate(row["disks"], start=1)
            ]
    return rows if published else {}


def _instance_records(seen: Sequence[Seen], run_id: str) -> list[Row]:
    return [
        {
            "account": one.account,
            "resource": INSTANCES_RESOURCE.name,
            "run_id": run_id,
            "observed_at_utc": utc(one.instances_at or one.at) if one.instances is not None else None,
            "is_published": one.instances is not None,
            "certificate": one.instances_certificate if one.instances is not None else None,
            "item_count": None if one.instances is None else len(one.instances),
            "child_item_count": None if one.instances is None else sum(len(row["disks"]) for row in one.instances),
            "reject_count": _reject_count(one, INSTANCES_RESOURCE.name),
            "unknown_field_count": 0,
            "error": one.instances_error,
            "same_account_as": one.same_account_as if one.instances is not None else None,
        }
        for one in seen
        if one.instances is not None or one.instances_error is not None
    ]


def strange(data: Path) -> None:
    """Three accounts: days missed, runs that prove nothing, images that come back, nulls, disks of all kinds."""
    kinds: list[dict[str, Any]] = [
        {"disk_size_gib": 40, "disk_format": "raw", "disk_type": "System"},
        {"disk_size_gib": None, "disk_format": None, "disk_type": None},
        {"disk_size_gib": 5, "disk_format": "qcow2", "disk_type": "Data", "extra": '{"a":1}'},
    ]
    for day in range(12):
        at = utc("2026-09-28 02:00") + dt.timedelta(days=day, microseconds=day * 1000)
        images = [
            image(
                f"m-{number}",
                *kinds[: (number + day // 5) % 4],
                image_name=None if number == 3 else f"web's \\{number % 3}-2026090{number % 9}",
                image_owner=("self", "others", None, "system")[number % 4],
                status=("Available", "Creating", "Create_failed", None)[(number + day // 4) % 4],
                platform=("centos", "", None, "Windows")[number % 4],
                architecture=("x86_64", "arm64", None)[number % 3],
                image_size_gib=None if number == 5 else 20 + number + day // 6,
                created_at_utc=None if number == 6 else utc("2026-09-27 20:00") - dt.timedelta(97 * number),
            )
            for number in range(14)
            if (number + day) % 7 or number % 3
        ]
        seen = [Seen("prod", f"{at}", images, certificate=("verified", "counted", "verified", "unproven")[day % 4])]
        if day % 3 == 1:
            seen.append(Seen("test", f"{at}", images[:4], unknown_field_count=day))
        if day == 5:
            seen.append(Seen("new", f"{at}", error="Forbidden: no"))
        if day != 8:
            write_run(data, *seen)
    write_run(data, Seen("prod", "2026-10-09 14:00", [image("m-1"), image("m-99", 3)], certificate="verified"))


def used(data: Path) -> None:
    """Four months of an account whose instances are listed, and one without the right: images of every use."""

    def version(image_id: str, name: str, created: str, size_gib: int, **fields: Any) -> Row:
        about = {
            "image_name": name,
            "architecture": "x86_64",
            "created_at_utc": utc(created),
            "image_size_gib": size_gib,
        }
        return image(image_id, size_gib, **{**about, **fields})

    images = [
        version("m-web1", "web", "2024-03-01", 120),
        version("m-web2", "web", "2025-02-01", 140),
        version("m-web3", "web", "2025-11-01", 160),
        version("m-web4", "web", "2026-05-01", 160),
        version("m-db1", "db", "2025-01-15", 400, region_id="cn-beijing"),
        version("m-db2", "db", "2026-01-15", 500, region_id="cn-beijing"),
        version("m-gone", "cache", "2025-06-01", 40),
        version("m-theirs", "base", "2025-06-01", 30, image_owner="others"),
        version("m-their2", "base", "2026-06-01", 30, image_owner="others"),
    ]
    late = version("m-web5", "web", "2026-10-30 02:05", 170)
    test = [version("m-app1", "app", "2025-03-01", 80), version("m-app2", "app", "2026-03-01", 90)]
    refused = "NoPermission: the service refused ens:DescribeInstances"
    for number, day in enumerate(("2026-07-01", "2026-08-15", "2026-10-01", "2026-10-29", "2026-10-30")):
        instances = [
            instance("i-1", "m-web2"),
            instance("i-2", "m-web2", status="Stopped"),
            instance("i-3", "m-web4"),
            instance("i-4", "m-gone", instance_name="cache"),
            instance("i-5", "m-theirs", status="Expired"),
            instance("i-6", "centos_7_08_64_20G", region_id="cn-shanghai-telecom"),
            *([instance("i-7", "m-db1")] if number < 2 else []),
        ]
        here = [row for row in images if number < 3 or row["image_id"] != "m-gone"]
        write_run(
            data,
            Seen("prod", f"{day} 02:00", [*here, *([late] if number == 4 else [])], instances=instances),
            Seen("test", f"{day} 02:03", test, instances_error=refused),
        )


def commit_again(record: Path) -> None:
    """Write a commit record again, with the digests of the files as they are now."""
    data = record.parents[3]
    places = {table.name: data / "lake" / table.name for table in ROW_TABLES}
    places[RAW_PAGES.name] = data / "raw"
    paths = {name: folder / record.parent.name / record.name for name, folder in places.items()}
    digests = {name: digest_of(path) for name, path in paths.items() if path.exists()}
    rows = pq.ParquetFile(record).read().to_pylist()
    committed = encode_digests(digests)
    write_record(record, OBSERVATIONS.to_arrow([{**row, COMMITTED_FILES: committed} for row in rows]), record.name)


def write_table(folder: Path, table: Table, rows: Sequence[Row], run_id: str, begin: dt.datetime) -> Path:
    """Write one file of one run."""
    path = folder / f"observed_on={begin:%Y-%m-%d}" / f"{run_id}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.to_arrow(rows), path)
    return path


def without_digests(data: Path) -> None:
    """Make a lake one of an older version: no commit record and no manifest has digests."""
    for path in (data / "lake" / OBSERVATIONS.name).rglob("*.parquet"):
        pq.write_table(_without_digests(path), path)
    for path in (data / "lake" / RECORDS).glob("*.parquet"):
        pq.write_table(_without_digests(path), path)
    for path in (data / "lake" / MANIFESTS).glob("*.json"):
        content = json.loads(path.read_bytes())
        path.write_text(json.dumps({name: content[name] for name in content if name not in {"digests", OWN_DIGEST}}))


def _without_digests(path: Path) -> pa.Table:
    rows = pq.ParquetFile(path).read().drop_columns([COMMITTED_FILES])
    header = {key: value for key, value in rows.schema.metadata.items() if key != OWN_DIGEST.encode()}
    return rows.replace_schema_metadata(header)
