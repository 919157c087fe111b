"""A good script by hand: aiohttp, orjson, pyarrow. One pass, no certificate, no raw pages, no rejects.

python tests/bench/peer_script.py URL FOLDER WORKERS
"""

import asyncio
import datetime as dt
import gc
import secrets
import sys
from pathlib import Path

import aiohttp
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from alibabacloud_tea_openapi.utils import Utils
from darabonba.request import DaraRequest
from yarl import URL

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
TEXTS = {
    "image_id": "ImageId",
    "image_name": "ImageName",
    "image_owner": "ImageOwnerAlias",
    "status": "Status",
    "platform": "Platform",
    "os_version": "OsVersion",
    "architecture": "Architecture",
    "compute_type": "ComputeType",
    "region_id": "RegionId",
    "instance_id": "InstanceId",
    "snapshot_id": "SnapshotId",
}


async def page(session: aiohttp.ClientSession, url: str, number: int, gate: asyncio.Semaphore) -> dict:
    query = {"PageNumber": str(number), "PageSize": "50"}
    headers = {
        "host": URL(url).authority,
        "x-acs-action": "DescribeSelfImages",
        "x-acs-version": "2017-11-10",
        "x-acs-date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "x-acs-signature-nonce": secrets.token_hex(16),
        "x-acs-content-sha256": EMPTY,
    }
    request = DaraRequest()
    request.method, request.pathname, request.query, request.headers = "POST", "/", query, headers
    headers["Authorization"] = Utils.get_authorization(request, "ACS3-HMAC-SHA256", EMPTY, "emulator", "emulator")
    async with gate, session.post(url, params=query, headers=headers) as answer:
        answer.raise_for_status()
        return orjson.loads(await answer.read())


async def listing(url: str, workers: int) -> list[dict]:
    gate = asyncio.Semaphore(workers)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        first = await page(session, url, 1, gate)
        count = -(-int(first["TotalCount"]) // 50)
        rest = await asyncio.gather(*(page(session, url, number, gate) for number in range(2, count + 1)))
    return [first, *rest]


def whole(said: str | None) -> int | None:
    return None if said is None else int(said)


def main() -> None:
    url, folder, workers = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    gc.disable()
    images = [image for page in asyncio.run(listing(url, workers)) for image in page["Images"]["Image"]]
    columns = {name: pa.array([image.get(field) for image in images], pa.string()) for name, field in TEXTS.items()}
    columns["image_size_gib"] = pa.array([whole(image.get("ImageSize")) for image in images], pa.int64())
    columns["image_storage_size"] = pa.array([whole(image.get("ImageStorageSize")) for image in images], pa.int64())
    created = [dt.datetime.fromisoformat(image["CreationTime"]).replace(tzinfo=None) for image in images]
    columns["created_at_utc"] = pa.array(created, pa.timestamp("us"))
    pq.write_table(pa.table(columns), folder / "images.parquet", compression="zstd")
    disks = [
        (image["ImageId"], number, disk)
        for image in images
        for number, disk in enumerate((image.get("DiskDeviceMappings") or {}).get("DiskDeviceMapping") or [], start=1)
    ]
    table = pa.table(
        {
            "image_id": [image_id for image_id, _, _ in disks],
            "disk_number": [number for _, number, _ in disks],
            "disk_type": [disk.get("Type") for _, _, disk in disks],
            "disk_size_gib": [whole(disk.get("Size")) for _, _, disk in disks],
            "disk_format": [disk.get("Format") for _, _, disk in disks],
            "disk_image_id": [disk.get("imageId") for _, _, disk in disks],
        }
    )
    pq.write_table(table, folder / "image_disks.parquet", compression="zstd")


if __name__ == "__main__":
    main()
