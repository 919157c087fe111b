"""Make a small lake of this version, to be kept in the tests for good.

    python tests/harness/old_lake.py tests/data/old_lake_v1

It holds what a lake can hold: days that are compacted and plain files, accounts side by side, one refused, images that
come, change and go, disks, values that could not be typed, unknown fields, an image without an id, an observation
withdrawn. `answers.json` is what it answers
to the questions below: every later version must give the same, in `test_old_lakes.py`. The lake itself lies in an
archive: its twenty headers are most of it, and all alike.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from pipeline import connect, run
from pipeline.credentials import key_account
from pipeline.emulator import Endpoint, Key
from pipeline.errors import EnsImagesError
from pipeline.jobs.compaction import compact
from pipeline.jobs.retention import prune
from pipeline.jobs.withdrawal import withdraw

QUESTIONS = {
    "images": "select * exclude (extra, disk_count, unsized_disk_count, disk_size_gib) from images order by all",
    "extras": "select image_id, extra from images where extra is not null order by all",
    "disks": "select * from image_disks order by all",
    "rejects": "select * exclude (resource) from rejects order by all",
    "observations": """
        select account, run_id, observed_at_utc, observed_on, is_published, certificate, asked_certificate, pass_count,
            page_count, call_count, total_count, item_count, child_item_count, reject_count, unknown_field_count,
            ids_sha256, error
        from observations order by all""",
    "pages": "select account, page_number, status, error_code, octet_length(body) as bytes from raw_pages order by all",
    "capacity": "select region_id, image_count, image_size_gib, disk_size_gib from capacity_by_region order by all",
    "versions": """
        select * exclude (extra, unsized_disk_count, is_current, same_account_as) from image_versions order by all""",
    "latest": "select account, image_id, image_size_gib from images_latest order by all",
}


def an_image(number: int, **fields: Any) -> dict[str, Any]:
    disks = [{"Type": "System", "Size": str(number), "Format": "qcow2", "imageId": f"d-{number}"}]
    return {
        "ImageId": f"m-{number}",
        "ImageName": f"名 {number}",
        "ImageOwnerAlias": "self",
        "Status": "Available",
        "Platform": "centos",
        "OsVersion": "7.2",
        "Architecture": "x86_64",
        "ComputeType": "ens_vm",
        "RegionId": "cn-beijing",
        "ImageSize": str(10 * number),
        "ImageStorageSize": str(20 * number),
        "CreationTime": "2025-12-08T12:10:03Z",
        "InstanceId": f"i-{number}",
        "SnapshotId": f"sp-{number}",
        "DiskDeviceMappings": {"DiskDeviceMapping": disks},
        **fields,
    }


class OldAccount:
    """An account of four days; the letter begins its ids."""

    def __init__(self, letter: str = "m") -> None:
        self._letter = letter

    def images_on(self, day: int) -> list[dict[str, Any]]:
        images = self._images_on(day)
        return [{**row, "ImageId": self._letter + row["ImageId"][1:]} if "ImageId" in row else row for row in images]

    def _images_on(self, day: int) -> list[dict[str, Any]]:
        odd = [
            an_image(4, ImageSize="20GiB", CreationTime="2021-02-30T00:00Z", Tags=[{"K": "a", "V": 1.50}]),
            an_image(5, LastUsed="2026-01-01T00:00Z", BootGib=7, DiskDeviceMappings=None),
            an_image(6, DiskDeviceMappings={"DiskDeviceMapping": [{"Size": "x", "Serial": "s"}, {"Size": 8}]}),
            {"ImageName": "no id"},
        ]
        changed = an_image(1, Status="Unavailable" if day else "Available")
        return [changed, *(an_image(n) for n in range(2 + (day > 1), 4)), *odd, *(an_image(9 + n) for n in range(day))]

    def new_image(self, serial: int, day: int) -> dict[str, Any]:
        return an_image(1000 * serial + day)


def make(folder: Path) -> None:
    """Live through four days of three accounts, withdraw one observation, and pack it all up."""
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as aside:
        data = Path(aside) / "data"
        live(data)
        said = json.dumps(answers(data), indent=1, ensure_ascii=False)
        (folder / "answers.json").write_text(said + "\n", "utf-8")
        with tarfile.open(folder / "data.tar.xz", "x:xz") as archive:
            for room in ("raw", "lake"):
                archive.add(data / room, room, filter=_nobodys)


def _nobodys(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uname = member.gname = ""
    member.uid = member.gid = 0
    return member


def live(data: Path) -> None:
    begin = dt.datetime(2026, 1, 1, 2, tzinfo=dt.UTC)
    stocks = {"a": OldAccount(), "b": OldAccount("n"), "c": OldAccount("o")}
    keys = {name: Key("emulator", stock, is_permitted=name != "c") for name, stock in stocks.items()}
    accounts = [key_account(label, key, "emulator") for label, key in (("prod", "a"), ("test", "b"), ("no right", "c"))]
    for day in range(4):
        with Endpoint(keys, day=day) as endpoint, contextlib.suppress(EnsImagesError):
            at = begin + dt.timedelta(days=day)
            listed = accounts if day < 3 else accounts[:1]
            run(data, accounts=listed, endpoint=endpoint.url, observed_at=at, certificate="counted")
    withdraw(data, "20260103T020000.000000Z/test", grace="36500d", at=begin + dt.timedelta(days=4))
    compact(data, grace="1d", at=begin + dt.timedelta(days=4))
    prune(data, at=begin + dt.timedelta(days=6))


def answers(data: Path) -> dict[str, list[list[Any]]]:
    """What a lake answers."""
    with connect(data) as lake:
        said = {name: lake.execute(question).fetchall() for name, question in QUESTIONS.items()}
    return json.loads(json.dumps(said, default=str))


if __name__ == "__main__":
    make(Path(sys.argv[1]))
