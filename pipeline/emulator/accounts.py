"""Accounts to serve: read from a file, or generated from a seed and changing from day to day.

    living_account(images=1037, seed=1, instances=60)    day 0: exactly 1,037 images and 60 instances
        .images_on(day=1)                                a few images created, deleted or changed
        .instances_on(day=1)                             the same of the instances, which run from those images

The images of a day are a pure function of (images, seed, day), newest first; instances change nothing about them. An
id is never reused.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from pipeline.emulator.days import LISTED_AT, Days, listed_s
from pipeline.emulator.image_generator import UNFINISHED, YEAR_S, Image, ImageGenerator, account_regions
from pipeline.emulator.living_instances import LivingInstances, extra_instance
from pipeline.emulator.rng import random_count, seeded_rng

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from pipeline.emulator.instance_generator import Instance

OLDEST_YEARS = 8
CREATED_SHARE, DELETED_SHARE, CHANGED_SHARE = 0.004, 0.0035, 0.005  # of an account, a day, ±50 %
SHARED_ONE_IN = 5  # images that are shared with other accounts

_TOGGLED_STATUS = {"Available": "Unavailable", "Unavailable": "Available"}


class EmulatedAccount(Protocol):
    """An account that an endpoint serves. The dicts are shared between days and callers: copy before changing one."""

    def images_on(self, day: int) -> list[Image]:
        """Return all images of that day, in listing order."""

    def new_image(self, serial: int, day: int) -> Image:
        """Generate an image that is in no day, to insert while a listing is read."""


@runtime_checkable
class AccountWithInstances(EmulatedAccount, Protocol):
    """An account that has instances too; any other account has none."""

    def instances_on(self, day: int) -> list[Instance]:
        """Return all instances of that day, in listing order."""

    def new_instance(self, serial: int, day: int) -> Instance:
        """Generate an instance that is in no day, to insert while a listing is read."""


@runtime_checkable
class AccountWithShares(EmulatedAccount, Protocol):
    """An account that shares images of its own."""

    def shared_with(self, image_id: str) -> Sequence[str]:
        """Return the numbers of the accounts that an image is shared with."""


class FileAccount:
    """An account with the same images and instances every day."""

    def __init__(self, images: Sequence[Image], instances: Sequence[Instance] = (), number: int = 1) -> None:
        self._number = number
        self._images = [_numbered(image, "ImageId", number) for image in images]
        own = {image.get("ImageId") for image in images}
        self._instances = [
            _numbered(_numbered(each, "InstanceId", number), "ImageId", number if each.get("ImageId") in own else 1)
            for each in instances
        ]

    def images_on(self, day: int) -> list[Image]:  # noqa: ARG002 - the same every day
        """Return all images, in the file's order."""
        return list(self._images)

    def new_image(self, serial: int, day: int) -> Image:
        """Generate an image with an unused id."""
        return _extra_image(f"file {self._number}", serial, day)

    def instances_on(self, day: int) -> list[Instance]:  # noqa: ARG002 - the same every day
        """Return all instances, in the file's order."""
        return list(self._instances)

    def new_instance(self, serial: int, day: int) -> Instance:
        """Generate an instance with an unused id, from an image of the file."""
        return extra_instance(f"file {self._number}", serial, day, self._images)


def _numbered(item: dict[str, Any], field: str, number: int) -> dict[str, Any]:
    """Return the item of the account of this number: an id names one item, so a second account has other ids."""
    item_id = item.get(field)
    return item if number == 1 or not isinstance(item_id, str) else {**item, field: f"{item_id}-{number}"}


class _Day(NamedTuple):
    images: list[Image]
    next_serial: int


class LivingAccount:
    """A generated account: each day follows from the day before."""

    def __init__(self, images: int, seed: int, instances: int = 0) -> None:
        self._count = images
        self._seed = seed
        self._regions = account_regions(seed)
        self._days = Days(self._first_day, self._next_day)
        self._instances = LivingInstances(instances, seed, self.images_on)

    def images_on(self, day: int) -> list[Image]:
        """Return all images of that day, newest first.

        Raises:
            ValueError: the day is negative.
        """
        return list(self._days.on(day).images)

    def new_image(self, serial: int, day: int) -> Image:
        """Generate an image with an unused id."""
        return _extra_image(self._seed, serial, day)

    def instances_on(self, day: int) -> list[Instance]:
        """Return all instances of that day, newest first.

        Raises:
            ValueError: the day is negative.
        """
        return self._instances.on(day)

    def new_instance(self, serial: int, day: int) -> Instance:
        """Generate an instance with an unused id, from an image of the day."""
        return extra_instance(self._seed, serial, day, self.images_on(day))

    def shared_with(self, image_id: str) -> Sequence[str]:
        """Return the numbers of the accounts that an image is shared with: of every fifth image one to three."""
        if zlib.crc32(image_id.encode()) % SHARED_ONE_IN:
            return ()
        rng = seeded_rng("shared with", image_id)
        return [f"15{rng.randrange(10**14):014}" for _ in range(rng.choice((1, 1, 2, 3)))]

    def _first_day(self) -> _Day:
        rng = seeded_rng(self._count, self._seed, "day 0")
        generator = ImageGenerator(rng, self._regions)
        present_s = listed_s(0)
        unfinished = min(self._count // 4, max(2, self._count // 250))  # the newest images
        finished = self._count - unfinished
        ages_s = [7_200 + OLDEST_YEARS * (YEAR_S - 900) * rng.random() ** 1.7 for _ in range(finished)]
        ages_s += [rng.random() * 7_200 for _ in range(unfinished)]
        ages_s.sort(reverse=True)
        images = [
            generator.new_image(serial, present_s - age_s, is_unfinished=serial >= finished)
            for serial, age_s in enumerate(ages_s)
        ]
        images.reverse()
        return _Day(images, self._count)

    def _next_day(self, previous: _Day, day: int) -> _Day:
        rng = seeded_rng(self._count, self._seed, "day", day)
        images = list(previous.images)
        finished = _finish_images(images, rng)

        deleted = min(random_count(DELETED_SHARE * len(images), rng), len(images))
        changed = min(random_count(CHANGED_SHARE * len(images), rng), len(images))
        created = random_count(CREATED_SHARE * self._count, rng)
        if not finished + deleted + changed + created and images and rng.random() < 0.5:
            changed = 1  # otherwise a small account would not change for weeks
        for position in rng.sample(range(len(images)), changed):
            images[position] = _change_image(images[position], rng)
        for position in sorted(rng.sample(range(len(images)), deleted), reverse=True):
            del images[position]

        if created:
            generator = ImageGenerator(rng, self._regions)
            present_s, serial = listed_s(day), previous.next_serial
            ages_s = sorted((rng.random() * LISTED_AT.total_seconds() for _ in range(created)), reverse=True)
            new_images = [
                generator.new_image(serial + n, present_s - age_s, is_unfinished=rng.random() < 0.5)
                for n, age_s in enumerate(ages_s)
            ]
            images = new_images[::-1] + images
        return _Day(images, previous.next_serial + created)


def living_account(images: int, seed: int = 1, instances: int = 0) -> LivingAccount:
    """Create an account with exactly `images` images and `instances` instances on day 0.

    Raises:
        ValueError: a number is negative.
    """
    for count, noun in ((images, "images"), (instances, "instances")):
        if count < 0:
            raise ValueError(f"{count} {noun}: an account has 0 or more")
    return LivingAccount(images, seed, instances)


def read_account(path: str | Path, number: int = 1) -> FileAccount:
    """Read an account from a JSON file.

    The file is a response of DescribeSelfImages or DescribeInstances, one object with the lists of both (`Images` and
    `Instances`), or a list of images. From the second account of a file on, `number` is added to each id: no two
    accounts own one image.

    Raises:
        ValueError: the file is not JSON, or its content has another shape.
        OSError: the file cannot be read.
    """
    try:
        content: Any = json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: not JSON: {error}") from None
    if not isinstance(content, dict):
        return FileAccount(_checked(path, content, "image"), number=number)
    if not content.keys() & {"Images", "Instances"}:
        raise ValueError(f"{path}: expected 'Images' or 'Instances', found {_list_keys(content)}")
    return FileAccount(_listed(path, content, "Image"), _listed(path, content, "Instance"), number)


def _listed(path: str | Path, content: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the items of a response; none where its list is missing or null, as for an empty account."""
    outer = content.get(f"{name}s") or []
    return _checked(path, (outer.get(name, outer) or []) if isinstance(outer, dict) else outer, name.lower())


def _checked(path: str | Path, items: Any, noun: str) -> list[dict[str, Any]]:
    if not isinstance(items, list):
        raise ValueError(  # noqa: TRY004 - the file is wrong, not the caller
            f"{path}: expected a list of {noun}s or a response that lists them, found {_json_type(items)}"
        )
    for place, item in enumerate(items, start=1):
        if not isinstance(item, dict):
            raise ValueError(  # noqa: TRY004 - the file is wrong, not the caller
                f"{path}: {noun} {place} is {_json_type(item)}, expected an object"
            )
    return items


def _extra_image(seed: object, serial: int, day: int) -> Image:
    generator = ImageGenerator(seeded_rng(seed, "newborn", serial), account_regions(seed), prefix="m-5new")
    return generator.new_image(serial, listed_s(day))


def _finish_images(images: list[Image], rng: random.Random) -> int:
    """Finish most unfinished images of the day before; some fail, some stay unfinished.

    Returns:
        The number of changed images.
    """
    finished = 0
    for position, image in enumerate(images[: max(200, len(images) // 50)]):  # unfinished images are the newest
        status = image["Status"]
        if status not in UNFINISHED:
            continue
        draw = rng.random()
        if draw < 0.1:
            continue
        failed = "Upload_failed" if status == "Uploading" else "Pack_failed"
        images[position] = {**image, "Status": failed if draw < 0.2 else "Available"}
        finished += 1
    return finished


def _change_image(image: Image, rng: random.Random) -> Image:
    draw = rng.random()
    if draw < 0.25:
        name = image["ImageName"].split(" v")[0]
        return {**image, "ImageName": f"{name} v{2 + int(rng.random() * 8)}"}
    if draw < 0.35 and image["Status"] in _TOGGLED_STATUS:
        return {**image, "Status": _TOGGLED_STATUS[image["Status"]]}
    return _grow_image(image, rng, has_new_size=draw > 0.7)


def _grow_image(image: Image, rng: random.Random, *, has_new_size: bool) -> Image:
    stored = int(int(image["ImageStorageSize"]) * rng.uniform(1.02, 1.3)) + 1
    grown = {**image, "ImageStorageSize": str(stored)}
    if not has_new_size or "ImageSize" not in image:
        return grown
    added_gib = 20 * (1 + int(rng.random() * 5))
    grown["ImageSize"] = str(int(image["ImageSize"]) + added_gib)
    disks = (image.get("DiskDeviceMappings") or {}).get("DiskDeviceMapping")
    if disks:
        last = {**disks[-1], "Size": str(int(disks[-1]["Size"]) + added_gib)}
        grown["DiskDeviceMappings"] = {"DiskDeviceMapping": [*disks[:-1], last]}
    return grown


def _list_keys(content: dict[str, Any]) -> str:
    return ", ".join(sorted(content)[:8]) or "an empty object"


def _json_type(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
