"""Generate realistic instances from a seed.

    seeded_rng(seed, "instances")  →  InstanceGenerator  →  {"InstanceId": "i-5…", "ImageId": "m-5…", "Memory": 4096, …}

An instance has the family, the operating system and the disk sizes that fit its image. Kinds and sizes are drawn from
shuffled cycles: a small account has every kind. Addresses are of the ranges kept for documentation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

from pipeline.emulator.image_generator import NAMES, Image, format_instant
from pipeline.emulator.rng import random_id, repeat_by_weight, seeded_rng, serial_id, shuffled_cycle

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

Instance: TypeAlias = dict[str, Any]  # as the API sends it: text, numbers and lists, ready for JSON

A_DAY_S: Final = 86_400.0
MIB_OF_GIB: Final = 1_024
NEVER: Final = ("2099-12-31T15:59Z", "2119-07-13T02:38:57Z")
"""The ExpiredTime of an instance that does not expire: of a sibling product, and of the published example."""

SUBSCRIPTION: Final = "EnsInstance"
PAY_AS_YOU_GO: Final = "EnsPostPaidInstance"
RESOURCE_TYPES: Final = {SUBSCRIPTION: 56, PAY_AS_YOU_GO: 28, "EnsService": 12, "BuildMachine": 4}
TERMS_DAYS: Final = {30: 5, 90: 2, 365: 3}  # of a subscription
PUBLIC_IMAGES: Final = (
    ("centos_6_08_64_20G_alibase_20171208", "centos 6.8 x86_64"),
    ("centos_7_06_64_20G_alibase_20190711", "centos 7.6 x86_64"),
    ("ubuntu_22_04_x64_20G_alibase_20230613", "ubuntu 22.04 x86_64"),
    ("debian_11_6_x64_20G_alibase_20230220", "debian 11.6 x86_64"),
    ("win2019_1809_x64_dtc_zh-cn_40G_alibase_20230512", "windows 2019 x86_64"),
)
FAMILIES: Final = {
    "ens_vm": "x86_vm", "ens": "x86_vm", "bare_metal": "x86_bmi", "arm_vm": "arm_bmi", "arm_bare_metal": "arm_bmi",
    "pcfarm": "pc_bmi",
}  # fmt: skip
"""The family of the instances of an image, by its ComputeType."""
SPECS: Final = {
    "x86_vm": (
        ("ens.sn1.stiny", 1, 1_024), ("ens.sn1.tiny", 1, 2_048), ("ens.sn1.small", 2, 4_096),
        ("ens.sn1.medium", 4, 8_192), ("ens.sn1.large", 8, 16_384), ("ens.se1.large", 16, 65_536),
    ),
    "x86_bmi": (("ens.bmi.c32", 32, 131_072), ("ens.bmi.c64", 64, 262_144)),
    "arm_bmi": (("ens.arm.c8", 8, 16_384),),
    "pc_bmi": (("ens.pc.c8", 8, 32_768),),
}  # fmt: skip
"""Name, vCPUs and memory in MiB, by family."""
NODES: Final = (
    "cn-hangzhou-telecom", "cn-beijing-cmcc", "cn-shanghai-unicom", "cn-suzhou-telecom", "cn-chengdu-telecom",
    "cn-guangzhou-cmcc", "cn-wuhan-telecom", "cn-shenzhen-unicom", "cn-xian-cmcc", "cn-nanjing-telecom",
    "cn-jinan-unicom", "cn-zhengzhou-cmcc",
)  # fmt: skip
DATA_DISK_COUNTS: Final = {-1: 4, 0: 46, 1: 34, 2: 12, 4: 4}  # -1: the field is absent
DISKS_GIB: Final = (20, 40, 50, 100, 100, 200, 500)
CATEGORIES: Final = ("pangu", "pangu", "pangu", "file", "local_hdd")


def account_nodes(seed: object) -> list[str]:
    """Choose four to ten nodes for an account.

    Returns:
        The nodes, each repeated by its weight.
    """
    rng = seeded_rng(seed, "nodes")
    nodes = rng.sample(NODES, rng.randint(4, 10))
    return [node for rank, node in enumerate(nodes, start=1) for _ in range(1 + 12 // rank)]


def runs_from(image: Image | None, rng: random.Random) -> dict[str, Any]:
    """Return the fields of an instance that follow from its image; None: from a public image."""
    if image is None:
        image_id, system = PUBLIC_IMAGES[int(rng.random() * len(PUBLIC_IMAGES))]
        return {"ImageId": image_id, "OSName": system}
    parts = (image.get("Platform"), image.get("OsVersion"), image.get("Architecture"))
    return {"ImageId": image["ImageId"], "OSName": " ".join(part for part in parts if part)}


class InstanceGenerator:
    """Generates instances. The caller must use each serial of an account only once: the id follows from it."""

    def __init__(self, rng: random.Random, nodes: Sequence[str], *, prefix: str = "i-5") -> None:
        self._rng = rng
        self._prefix = prefix
        self._nodes = shuffled_cycle(nodes, rng)
        self._resource_types = shuffled_cycle(repeat_by_weight(RESOURCE_TYPES), rng)
        self._terms_days = shuffled_cycle(repeat_by_weight(TERMS_DAYS), rng)
        self._data_disk_counts = shuffled_cycle(repeat_by_weight(DATA_DISK_COUNTS), rng)
        self._names = shuffled_cycle(NAMES, rng)
        self._network = random_id(rng, "n-2")
        self._switch = random_id(rng, "vsw-2")
        self._group = random_id(rng, "sg-5")

    def new_instance(self, serial: int, created_s: float, listed_s: float, image: Image | None) -> Instance:
        """Generate the instance with this serial, created at `created_s` from this image (None: a public one).

        `listed_s` is the present: a subscription was renewed until then. Both are seconds since 1970.
        """
        rng, draw = self._rng, self._rng.random
        instance_id = serial_id(rng, self._prefix, serial)
        resource_type = next(self._resource_types)
        family = FAMILIES.get((image or {}).get("ComputeType", ""), "x86_vm")
        spec, cpu, memory_mib = rng.choice(SPECS[family])
        name = instance_id if draw() < 0.15 else f"{next(self._names)}-{serial:03d}"
        instance: Instance = {
            "CreationTime": format_instant(created_s, has_seconds=draw() > 0.05),
            "Status": "Running" if draw() > 0.15 else "Stopped",
            "SpecName": spec,
            "InstanceTypeFamily": family,
            "InstanceResourceType": resource_type,
            "HostName": f"iZ{instance_id.removeprefix('i-')}",
            "InstanceId": instance_id,
            "EnsRegionId": next(self._nodes),
            "Cpu": str(cpu),
            "ExpiredTime": self._expiry(created_s, listed_s) if resource_type == SUBSCRIPTION else rng.choice(NEVER),
            "InstanceName": name,
            **runs_from(image, rng),
            "Memory": memory_mib,
            "ServiceStatus": "Normal",
            "SpotStrategy": "NoSpot",
            "DeletionProtection": draw() < 0.12,
        }
        if resource_type == PAY_AS_YOU_GO:
            instance["AutoReleaseTime"] = ""
        self._add_disks(instance, image)
        self._add_network(instance)
        return instance

    def _expiry(self, created_s: float, listed_s: float) -> str:
        """Return the end of the current term, by the hour at which terms end; one in ten was not renewed lately."""
        term_s = next(self._terms_days) * A_DAY_S
        ends_s = created_s // A_DAY_S * A_DAY_S + 16 * 3_600 + term_s
        while ends_s <= listed_s:
            ends_s += term_s
        if self._rng.random() < 0.1 and created_s < listed_s - 7 * A_DAY_S:
            ends_s = listed_s - self._rng.random() * 7 * A_DAY_S
        return format_instant(ends_s, has_seconds=True)

    def _add_disks(self, instance: Instance, image: Image | None) -> None:
        system = self._disk("system", _system_gib(image or {}))
        count = next(self._data_disk_counts)
        disks = [self._data_disk(self._rng.choice(DISKS_GIB)) for _ in range(max(0, count))]
        instance["SystemDisk"] = system
        if count >= 0:
            instance["DataDisk"] = {"DataDisk": disks}
        instance["Disk"] = system["Size"] + sum(disk["Size"] for disk in disks)

    def _disk(self, kind: str, size_gib: int) -> dict[str, Any]:
        disk_id = random_id(self._rng, "d-5")
        category = self._rng.choice(CATEGORIES)
        size_mib = size_gib * MIB_OF_GIB
        return {
            "device_type": category,
            "disk_type": kind,
            "Size": size_mib,
            "DiskName": disk_id,
            "uuid": disk_id,
            "storage": size_mib,
            "DiskId": disk_id,
            "Category": category,
            "name": disk_id,
        }

    def _data_disk(self, size_gib: int) -> dict[str, Any]:
        disk = {**self._disk("data", size_gib), "DiskSize": size_gib, "Encrypted": False}
        if self._rng.random() < 0.2:
            disk |= {"Encrypted": True, "EncryptKeyId": random_id(self._rng, "key-")}
        return disk

    def _add_network(self, instance: Instance) -> None:
        bits = self._rng.getrandbits
        private = f"10.{bits(8)}.{bits(8)}.{1 + bits(7)}"
        public = [f"203.0.113.{1 + bits(7)}"] if self._rng.random() < 0.7 else []
        isp = instance["EnsRegionId"].rpartition("-")[2]
        interface = {
            "Type": "Primary",
            "MacAddress": f"00:16:3e:{bits(8):02x}:{bits(8):02x}:{bits(8):02x}",
            "PrimaryIpAddress": private,
            "NetworkInterfaceId": random_id(self._rng, "eni-5"),
            "PrivateIpSets": {"PrivateIpSet": [{"PrivateIpAddress": private, "Primary": True}]},
            "Ipv6Sets": {"Ipv6Set": []},
        }
        instance |= {
            "InternetMaxBandwidthIn": 100,
            "InternetMaxBandwidthOut": 100,
            "PublicIpAddresses": {"PublicIpAddress": [_address(ip, "203.0.113.254", isp) for ip in public]},
            "PrivateIpAddresses": {"PrivateIpAddress": [_address(private, "10.0.0.254", isp)]},
            "SecurityGroupIds": {"SecurityGroupId": [self._group]},
            "InnerIpAddress": {"IpAddress": [private]},
            "PublicIpAddress": {"IpAddress": public},
            "NetworkAttributes": {
                "NetworkId": self._network,
                "VSwitchId": self._switch,
                "PrivateIpAddress": {"IpAddress": [private]},
            },
            "Tags": {"Tags": []},
            "KeyPairName": "operators",
            "NetworkInterfaces": {"NetworkInterfaces": [interface]},
        }


def _system_gib(image: Image) -> int:
    """Return the size of the image's first disk; without one, that of the image; at least 20."""
    disks = (image.get("DiskDeviceMappings") or {}).get("DiskDeviceMapping")
    size = disks[0].get("Size") if disks else image.get("ImageSize")
    return max(20, int(size)) if isinstance(size, str) and size.isdigit() else 20


def _address(ip: str, gateway: str, isp: str) -> dict[str, str]:
    return {"Ip": ip, "GateWay": gateway, "Isp": isp}
