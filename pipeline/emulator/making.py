"""One realistic image after another, from a seed.

    dice(seed, "day 0")  →  Maker  →  {"ImageId": "m-5…", "ImageSize": "40", …}

Each kind of value is dealt from a shuffled deck rather than diced: an account of a hundred images
has its sixteen disks, its ARM images and its failed ones, and a large account has them in proportion.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Image: TypeAlias = dict[str, Any]  # as the API spells it: text and lists, ready for JSON
T = TypeVar("T")

DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
PAIRS = [a + b for a in DIGITS for b in DIGITS]
SERIALS = 36**6  # ids that one account can ever hand out
SCRAMBLE = 1_073_807_359  # shares no factor with 36, so each serial has an ending of its own
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
STATUSES = {"Available": 94, "Unavailable": 2, "Pack_failed": 2, "Upload_failed": 2}  # those that last
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
SHARED_NAMES = ("golden-base", "base", "标准镜像", "copy of golden-base")  # given to many an image


def dice(*seed: object) -> random.Random:
    """A generator that rolls the same for the same seed, on every machine."""
    return random.Random("/".join(map(str, seed)))  # noqa: S311 - to be repeated is its purpose


def deal(cards: Sequence[T], rng: random.Random) -> Iterator[T]:
    """All cards in random order, then all again in another, without end."""
    deck = list(cards)
    while True:
        rng.shuffle(deck)
        yield from deck


def weighed(weights: dict[T, int]) -> list[T]:
    """Each card as often as its weight says."""
    return [card for card, weight in weights.items() for _ in range(weight)]


def regions_of(seed: object) -> list[str]:
    """The cards of an account's regions: eight to fifteen of them, the first far more often than the last."""
    rng = dice(seed, "regions")
    regions = rng.sample(REGIONS, rng.randint(8, 15))
    return [region for place, region in enumerate(regions) for _ in range(1 + 48 // (place + 1))]


class Maker:
    """Makes images, each with an id of its own: serials of one account must never be handed out twice."""

    def __init__(self, rng: random.Random, regions: Sequence[str], *, prefix: str = "m-5") -> None:
        self._rng = rng
        self._prefix = prefix
        self._instance = self._snapshot = ""
        systems = [
            (platform, version)
            for platform, (weight, versions) in PLATFORMS.items()
            for version in (versions * weight)[:weight]
        ]
        self._systems = deal(systems, rng)
        self._compute_types = deal(weighed(COMPUTE_TYPES), rng)
        self._statuses = deal(weighed(STATUSES), rng)
        self._owners = deal(weighed(OWNERS), rng)
        self._disk_counts = deal(weighed(DISK_COUNTS), rng)
        self._sizes_gib = deal(SIZES_GIB, rng)
        self._size_quirks = deal(weighed(SIZE_QUIRKS), rng)
        self._regions = deal(regions, rng)
        self._names = deal(NAMES, rng)

    def image(self, serial: int, created_s: float, *, is_unfinished: bool = False) -> Image:
        """The image with this serial, created at this instant (seconds since 1970)."""
        rng, roll = self._rng, self._rng.random
        platform, version = next(self._systems)
        compute_type = next(self._compute_types)
        if platform == "windows" and compute_type not in ("ens", "bare_metal"):
            compute_type = "ens_vm"  # no Windows on ARM there
        image_id = self._id(self._prefix, serial)
        image: Image = {
            "Architecture": self._architecture(compute_type, version),
            "CreationTime": _instant(created_s, has_seconds=roll() > 0.015),  # a share
            "ImageId": image_id,
            "ImageName": self._name(created_s),
            "ImageOwnerAlias": next(self._owners),
        }
        disks = self._disks(image_id)
        self._put_size(image, disks)
        if roll() > 0.15 or not self._instance:  # every seventh shares an instance
            self._instance = self._text("i-5")
        if roll() > 0.15 or not self._snapshot:  # and every seventh a snapshot
            self._snapshot = self._text("sp-5")
        image["InstanceId"] = self._instance
        image["OsVersion"] = version
        image["Platform"] = platform
        image["Status"] = next(self._statuses)
        if is_unfinished:
            image["Status"] = UNFINISHED[int(roll() * len(UNFINISHED))]
        image["ComputeType"] = compute_type
        if roll() > 0.1:  # a tenth was made from no snapshot
            image["SnapshotId"] = self._snapshot
        if disks is not _ABSENT:
            image["DiskDeviceMappings"] = disks
        image["ImageStorageSize"] = str(int(int(image.get("ImageSize", "20")) * rng.uniform(8, 24)))
        image["RegionId"] = next(self._regions)
        return image

    def _id(self, prefix: str, serial: int) -> str:
        rest, last = divmod(serial * SCRAMBLE % SERIALS, len(PAIRS))
        first, middle = divmod(rest, len(PAIRS))
        return self._text(prefix) + PAIRS[first] + PAIRS[middle] + PAIRS[last]

    def _text(self, prefix: str) -> str:
        bits = self._rng.getrandbits
        return prefix + "".join([PAIRS[bits(10)] for _ in range(7)])

    def _architecture(self, compute_type: str, version: str) -> str:
        if compute_type in ("arm_vm", "arm_bare_metal", "pcfarm"):
            return "arm64"
        return "i386" if version == "6.8" and self._rng.random() < 0.5 else "x86_64"  # half of them

    def _name(self, created_s: float) -> str:
        if self._rng.random() < 0.08:  # a share
            return SHARED_NAMES[int(self._rng.random() * len(SHARED_NAMES))]
        return f"{next(self._names)}-{time.strftime('%Y%m%d', time.gmtime(created_s))}"

    def _disks(self, image_id: str) -> Any:
        count = next(self._disk_counts)
        if count == -1:
            return _ABSENT
        if count < 0:
            return None  # null: the page does not say that it cannot be
        lower = self._rng.random() < 0.1  # the page's values differ in case
        disks = []
        for number in range(count):
            kind = "Data" if number else "System"
            disks.append(
                {
                    "Type": kind.lower() if lower else kind,
                    "Size": str(next(self._sizes_gib)),
                    "Format": "raw" if self._rng.random() < 0.3 else "qcow2",  # a share
                    "imageId": self._text("m-5") if number else image_id,  # the API's own lower case
                }
            )
        return {"DiskDeviceMapping": disks}

    def _put_size(self, image: Image, disks: Any) -> None:
        quirk = next(self._size_quirks)
        if quirk == "absent":
            return
        sizes = [int(disk["Size"]) for disk in (disks or {}).get("DiskDeviceMapping", ())]
        if not sizes:
            image["ImageSize"] = str(next(self._sizes_gib))
        else:
            image["ImageSize"] = str(sizes[0] if quirk == "system disk only" else sum(sizes))


_ABSENT: dict[str, Any] = {}


def _instant(at_s: float, *, has_seconds: bool) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ" if has_seconds else "%Y-%m-%dT%H:%MZ", time.gmtime(at_s))
