"""What an analyst writes: the official SDK, page after page, then pandas.

python tests/bench/peer_sdk.py URL FOLDER WORKERS
"""

import sys
from pathlib import Path

import pandas as pd
from alibabacloud_ens20171110.client import Client
from alibabacloud_ens20171110.models import DescribeSelfImagesRequest
from alibabacloud_tea_openapi.models import Config

NAMES = {
    "ImageId": "image_id",
    "ImageName": "image_name",
    "ImageOwnerAlias": "image_owner",
    "Status": "status",
    "Platform": "platform",
    "OsVersion": "os_version",
    "Architecture": "architecture",
    "ComputeType": "compute_type",
    "RegionId": "region_id",
    "InstanceId": "instance_id",
    "SnapshotId": "snapshot_id",
    "ImageSize": "image_size_gib",
    "ImageStorageSize": "image_storage_size",
    "CreationTime": "created_at_utc",
}
DISK_NAMES = {"Type": "disk_type", "Size": "disk_size_gib", "Format": "disk_format", "imageId": "disk_image_id"}


def main() -> None:
    url, folder = sys.argv[1], Path(sys.argv[2])
    host = url.removeprefix("http://")
    client = Client(
        Config(
            access_key_id="emulator",
            access_key_secret="emulator",
            endpoint=host,
            protocol="HTTP",
            region_id="cn-hangzhou",
        )
    )
    images = []
    number = 1
    while True:
        body = client.describe_self_images(DescribeSelfImagesRequest(page_number=number, page_size=50)).body.to_map()
        images += body["Images"]["Image"]
        if len(images) >= int(body["TotalCount"]):
            break
        number += 1
    frame = pd.json_normalize(images).reindex(columns=list(NAMES)).rename(columns=NAMES)
    for name in ("image_size_gib", "image_storage_size"):
        frame[name] = pd.to_numeric(frame[name]).astype("Int64")
    frame["created_at_utc"] = pd.to_datetime(frame["created_at_utc"], format="ISO8601").dt.tz_localize(None)
    frame.to_parquet(folder / "images.parquet", compression="zstd")
    with_disks = [image for image in images if (image.get("DiskDeviceMappings") or {}).get("DiskDeviceMapping")]
    disks = pd.json_normalize(with_disks, ["DiskDeviceMappings", "DiskDeviceMapping"], ["ImageId"])
    disks = disks.reindex(columns=["ImageId", *DISK_NAMES]).rename(columns={"ImageId": "image_id", **DISK_NAMES})
    disks["disk_size_gib"] = pd.to_numeric(disks["disk_size_gib"]).astype("Int64")
    disks["disk_number"] = disks.groupby("image_id").cumcount() + 1
    disks.to_parquet(folder / "image_disks.parquet", compression="zstd")


if __name__ == "__main__":
    main()
