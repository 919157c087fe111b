"""Accounts to serve: read from a file, or generated from a seed and changing from day to day.

    living_account(images=1037, seed=1)      day 0: exactly 1,037 images
        .images_on(day=1)                    a few images created, deleted or changed

The images of a day are a pure function of (images, seed, day). Day 0 is 2026-10-01; a day is the account
at 02:00 UTC, newest image first. An id is never reused.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from pipeline.emulator.image_generator import UNFINISHED, YEAR_S, Image, ImageGenerator, account_regions
from pipeline.emulator.rng import seeded_rng

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

DAY_0 = datetime(2026, 10, 1, tzinfo=UTC)
LISTED_AT = timedelta(hours=2)  # time of day: a new image of the day was created before it
OLDEST_YEARS = 8
CREATED_SHARE, DELETED_SHARE, CHANGED_SHARE = 0.004, 0.0035, 0.005  # of an account, a day, ±50 %
CACHED_DAYS = 8

_TOGGLED_STATUS = {"Available": "Unavailable", "Unavailable": "Available"}


class EmulatedAccount(Protocol):
    """An account that an endpoint serves. The dicts are shared between days and callers: copy before changing one."""

    def images_on(self, day: int) -> list[Image]:
        """Return all images of that day, in listing order."""

    def new_image(self, serial: int, day: int) -> Image:
        """Generate an image that is in no day, to insert while a listing is read."""


class FileAccount:
    """An account with the same images every day."""

    def __init__(self, images: Sequence[Image], number: int = 1) -> None:
        self._number = number
        self._images = [_numbered(image, number) for image in images]

    def images_on(self, day: int) -> list[Image]:  # noqa: ARG002 - the same every day
        """Return all images, in the file's order."""
        return list(self._images)

    def new_image(self, serial: int, day: int) -> Image:
        """Generate an image with an unused id."""
        return _extra_image(f"file {self._number}", serial, day)


def _numbered(image: Image, number: int) -> Image:
    """Return the image of the account of this number: an id names one image, so a second account has other ids."""
    image_id = image.get("ImageId")
    return image if number == 1 or not isinstance(image_id, str) else {**image, "ImageId": f"{image_id}-{number}"}


class _Day(NamedTuple):
    images: list[Image]
    next_serial: int


class LivingAccount:
    """A generated account: each day follows from the day before."""

    def __init__(self, images: int, seed: int) -> None:
        self._count = images
        self._seed = seed
        self._regions = account_regions(seed)
        self._days: dict[int, _Day] = {}  # day 0 and the days used last; any other day is computed again

    def images_on(self, day: int) -> list[Image]:
        """Return all images of that day, newest first.

        Raises:
            ValueError: the day is negative.
        """
        if day < 0:
            raise ValueError(f"day {day}: the first day of an account is 0")
        if not self._days:
            self._days[0] = self._first_day()
        start = max(cached for cached in self._days if cached <= day)
        state = self._days[start]
        for number in range(start + 1, day + 1):
            state = self._next_day(state, number)
        self._days.pop(day, None)
        self._days[day] = state
        while len(self._days) > CACHED_DAYS:
            del self._days[next(cached for cached in self._days if cached)]
        return list(state.images)

    def new_image(self, serial: int, day: int) -> Image:
        """Generate an image with an unused id."""
        return _extra_image(self._seed, serial, day)

    def _first_day(self) -> _Day:
        rng = seeded_rng(self._count, self._seed, "day 0")
        generator = ImageGenerator(rng, self._regions)
        listed_s = _listed_s(0)
        unfinished = min(self._count // 4, max(2, self._count // 250))  # the newest images
        finished = self._count - unfinished
        ages_s = [7_200 + OLDEST_YEARS * (YEAR_S - 900) * rng.random() ** 1.7 for _ in range(finished)]
        ages_s += [rng.random() * 7_200 for _ in range(unfinished)]
        ages_s.sort(reverse=True)
        images = [
            generator.new_image(serial, listed_s - age_s, is_unfinished=serial >= finished)
            for serial, age_s in enumerate(ages_s)
        ]
        images.reverse()
        return _Day(images, self._count)

    def _next_day(self, previous: _Day, day: int) -> _Day:
        rng = seeded_rng(self._count, self._seed, "day", day)
        images = list(previous.images)
        finished = _finish_images(images, rng)

        deleted = min(_random_count(DELETED_SHARE * len(images), rng), len(images))
        changed = min(_random_count(CHANGED_SHARE * len(images), rng), len(images))
        created = _random_count(CREATED_SHARE * self._count, rng)
        if not finished + deleted + changed + created and images and rng.random() < 0.5:
            changed = 1  # otherwise a small account would not change for weeks
        for position in rng.sample(range(len(images)), changed):
            images[position] = _change_image(images[position], rng)
        for position in sorted(rng.sample(range(len(images)), deleted), reverse=True):
            del images[position]

        if created:
            generator = ImageGenerator(rng, self._regions)
            listed_s, serial = _listed_s(day), previous.next_serial
            ages_s = sorted((rng.random() * LISTED_AT.total_seconds() for _ in range(created)), reverse=True)
            new_images = [
                generator.new_image(serial + n, listed_s - age_s, is_unfinished=rng.random() < 0.5)
                for n, age_s in enumerate(ages_s)
            ]
            images = new_images[::-1] + images
        return _Day(images, previous.next_serial + created)


def living_account(images: int, seed: int = 1) -> LivingAccount:
    """Create an account with exactly `images` images on day 0.

    Raises:
        ValueError: the number is negative.
    """
    if images < 0:
        raise ValueError(f"{images} images: an account has 0 or more")
    return LivingAccount(images, seed)


def read_account(path: str | Path, number: int = 1) -> FileAccount:
    """Read an account from a JSON file: a response of DescribeSelfImages, or a list of images.

    From the second account of a file on, `number` is added to each id: no two accounts own one image.

    Raises:
        ValueError: the file is not JSON, or its content has another shape.
        OSError: the file cannot be read.
    """
    try:
        content: Any = json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: not JSON: {error}") from None
    images = content
    if isinstance(content, dict):
        if "Images" not in content:
            raise ValueError(f"{path}: expected 'Images', found {_list_keys(content)}")
        images = content["Images"] or []  # null: the response of an empty account
        if isinstance(images, dict):
            images = images.get("Image", content["Images"]) or []
    if not isinstance(images, list):
        raise ValueError(  # noqa: TRY004 - the file is wrong, not the caller
            f"{path}: expected a list of images or a response of DescribeSelfImages, found {_json_type(images)}"
        )
    for place, image in enumerate(images, start=1):
        if not isinstance(image, dict):
            raise ValueError(  # noqa: TRY004 - the file is wrong, not the caller
                f"{path}: image {place} is {_json_type(image)}, expected an object"
            )
    return FileAccount(images, number)


def _listed_s(day: int) -> float:
    return (DAY_0 + LISTED_AT + timedelta(days=day)).timestamp()


def _extra_image(seed: object, serial: int, day: int) -> Image:
    generator = ImageGenerator(seeded_rng(seed, "newborn", serial), account_regions(seed), prefix="m-5new")
    return generator.new_image(serial, _listed_s(day))


def _random_count(expected: float, rng: random.Random) -> int:
    return int(expected * (0.5 + rng.random()) + rng.random())


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
