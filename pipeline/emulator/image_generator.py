"""Generate realistic images from a seed.

    seeded_rng(seed, "day 0")  →  ImageGenerator  →  {"ImageId": "m-5…", "ImageSize": "40", …}

The same seed generates the same images on every machine. Categories are drawn from shuffled cycles,
not independently: an account of a hundred images includes rare values (sixteen disks, ARM, failed
uploads), and a large account has them in proportion.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeAlias

from pipeline.emulator.rng import random_id, repeat_by_weight, seeded_rng, serial_id, shuffled_cycle

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

Image: TypeAlias = dict[str, Any]  # as the API sends it: text and lists, ready for JSON

YEAR_S = 365.25 * 86_400

PLATFORMS = {
    "centos": (30, ("6.8", "7.2", "7.6", "7.9", "8.2")),
    "ubuntu": (28, ("16.04", "18.04", "20.04", "22.04", "24.04")),
    "debian": (14, ("9.13", "10.9", "11.3", "12.5")),
    "alios": (12, ("2.1903", "3.2104")),
    "rhel": (6, ("7.9", "8.8", "9.2")),
    "windows": (10, ("2016", "2019", "2022")),
}
COMPUTE_TYPES = {"ens_vm": 66, "ens": 8, "bare_metal": 8, "arm_vm": 9, "arm_bare_metal": 4, "pcfarm": 5}
STATUSES = {"Available": 94, "Unavailable": 2, "Pack_failed": 2, "Upload_failed": 2}  # final states
UNFINISHED = ("Creating", "Packing", "Uploading", "Copying")
OWNERS = {"self": 93, "others": 7}
DISK_COUNTS = {-2: 1, -1: 5, 0: 2, 1: 45, 2: 25, 3: 10, 4: 6, 6: 3, 8: 2, 16: 1}  # -1: absent, -2: null
SIZES_GIB = (20, 20, 20, 40, 40, 40, 60, 80, 100, 100, 200, 500)
SIZE_QUIRKS = {"sum": 96, "system disk only": 3, "absent": 1}
REGIONS = (
    "cn-wulanchabu", "cn-hangzhou", "cn-beijing", "cn-shanghai", "cn-shenzhen", "cn-chengdu", "cn-guangzhou",
    "cn-zhangjiakou", "cn-hongkong", "cn-heyuan", "cn-nanjing", "ap-southeast-1", "ap-southeast-5",
    "ap-northeast-1", "eu-central-1", "us-west-1",
)  # fmt: skip
NAMES = (
    "web-frontend", "video-transcode", "cdn-node", "k8s-worker", "iot-gateway", "game-server", "redis-cache",
    "边缘节点", "视频转码", "直播推流", "云游戏", "缓存服务器", "智能网关", "测试镜像",
)  # fmt: skip
SHARED_NAMES = ("golden-base", "base", "标准镜像", "copy of golden-base")  # names of more than one image


def account_regions(seed: object) -> list[str]:
    """Choose eight to fifteen regions for an account.

    Returns:
        The regions, each repeated by its weight: the first 49 times, later ones less often.
    """
    rng = seeded_rng(seed, "regions")
    regions = rng.sample(REGIONS, rng.randint(8, 15))
    return [region for rank, region in enumerate(regions, start=1) for _ in range(1 + 48 // rank)]


class ImageGenerator:
    """Generates images. The caller must use each serial of an account only once: the id follows from it."""

    def __init__(self, rng: random.Random, regions: Sequence[str], *, prefix: str = "m-5") -> None:
        self._rng = rng
        self._prefix = prefix
        self._instance = self._snapshot = ""
        systems = [
            (platform, version)
            for platform, (weight, versions) in PLATFORMS.items()
            for version in (versions * weight)[:weight]
        ]
        self._systems = shuffled_cycle(systems, rng)
        self._compute_types = shuffled_cycle(repeat_by_weight(COMPUTE_TYPES), rng)
        self._statuses = shuffled_cycle(repeat_by_weight(STATUSES), rng)
        self._owners = shuffled_cycle(repeat_by_weight(OWNERS), rng)
        self._disk_counts = shuffled_cycle(repeat_by_weight(DISK_COUNTS), rng)
        self._sizes_gib = shuffled_cycle(SIZES_GIB, rng)
        self._size_quirks = shuffled_cycle(repeat_by_weight(SIZE_QUIRKS), rng)
        self._regions = shuffled_cycle(regions, rng)
        self._names = shuffled_cycle(NAMES, rng)

    def new_image(self, serial: int, created_s: float, *, is_unfinished: bool = False) -> Image:
        """Generate the image with this serial, created at `created_s` (seconds since 1970)."""
        rng, draw = self._rng, self._rng.random
        platform, version = next(self._systems)
        compute_type = next(self._compute_types)
        if platform == "windows" and compute_type not in ("ens", "bare_metal"):
            compute_type = "ens_vm"  # ENS has no Windows on ARM
        image_id = serial_id(rng, self._prefix, serial)
        image: Image = {
            "Architecture": self._architecture(compute_type, version),
            "CreationTime": format_instant(created_s, has_seconds=draw() > 0.015),
            "ImageId": image_id,
            "ImageName": self._new_name(created_s),
            "ImageOwnerAlias": next(self._owners),
        }
        disks = self._new_disks(image_id)
        self._set_size(image, disks)
        if draw() > 0.15 or not self._instance:  # one in seven shares the instance of the image before
            self._instance = random_id(self._rng, "i-5")
        if draw() > 0.15 or not self._snapshot:  # one in seven shares its snapshot
            self._snapshot = random_id(self._rng, "sp-5")
        image["InstanceId"] = self._instance
        image["OsVersion"] = version
        image["Platform"] = platform
        image["Status"] = next(self._statuses)
        if is_unfinished:
            image["Status"] = UNFINISHED[int(draw() * len(UNFINISHED))]
        image["ComputeType"] = compute_type
        if draw() > 0.1:  # one in ten has no snapshot
            image["SnapshotId"] = self._snapshot
        if disks is not _ABSENT:
            image["DiskDeviceMappings"] = disks
        image["ImageStorageSize"] = str(int(int(image.get("ImageSize", "20")) * rng.uniform(8, 24)))
        image["RegionId"] = next(self._regions)
        return image

    def _architecture(self, compute_type: str, version: str) -> str:
        if compute_type in ("arm_vm", "arm_bare_metal", "pcfarm"):
            return "arm64"
        return "i386" if version == "6.8" and self._rng.random() < 0.5 else "x86_64"

    def _new_name(self, created_s: float) -> str:
        if self._rng.random() < 0.08:
            return SHARED_NAMES[int(self._rng.random() * len(SHARED_NAMES))]
        return f"{next(self._names)}-{time.strftime('%Y%m%d', time.gmtime(created_s))}"

    def _new_disks(self, image_id: str) -> Any:
        count = next(self._disk_counts)
        if count == -1:
            return _ABSENT
        if count < 0:
            return None  # the documentation does not exclude null
        is_lower_case = self._rng.random() < 0.1  # values in the documentation differ in case
        disks = []
        for number in range(count):
            kind = "Data" if number else "System"
            disks.append(
                {
                    "Type": kind.lower() if is_lower_case else kind,
                    "Size": str(next(self._sizes_gib)),
                    "Format": "raw" if self._rng.random() < 0.3 else "qcow2",
                    "imageId": random_id(self._rng, "m-5") if number else image_id,  # lower case in the API too
                }
            )
        return {"DiskDeviceMapping": disks}

    def _set_size(self, image: Image, disks: Any) -> None:
        quirk = next(self._size_quirks)
        if quirk == "absent":
            return
        sizes = [int(disk["Size"]) for disk in (disks or {}).get("DiskDeviceMapping", ())]
        if not sizes:
            image["ImageSize"] = str(next(self._sizes_gib))
        else:
            image["ImageSize"] = str(sizes[0] if quirk == "system disk only" else sum(sizes))


_ABSENT: dict[str, Any] = {}


def format_instant(at_s: float, *, has_seconds: bool) -> str:
    """Format seconds since 1970 as the API does: UTC, now and then without seconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ" if has_seconds else "%Y-%m-%dT%H:%MZ", time.gmtime(at_s))
