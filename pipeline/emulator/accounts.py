"""Accounts to serve: read from a file, or made from a seed and living from day to day.

    living_account(images=1037, seed=1)      day 0: exactly 1,037 images
        .images_on(day=1)                    some more, some fewer, some grown or changed

The images of a day are a pure function of (images, seed, day). Day 0 is 2026-10-01; a day shows the
account as it stands at 02:00 UTC, newest image first. An id is never used for a second image.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from pipeline.emulator.making import UNFINISHED, YEAR_S, Image, Maker, dice, regions_of

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

DAY_0 = datetime(2026, 10, 1, tzinfo=UTC)
SEEN_AT = timedelta(hours=2)  # the hour at which a day is seen: its new images were made before it
OLDEST_YEARS = 8
BORN, GONE, CHANGED = 0.004, 0.0035, 0.005  # shares of an account, a day, give or take a half
KEPT_DAYS = 8

_TURNED = {"Available": "Unavailable", "Unavailable": "Available"}


class Account(Protocol):
    """What an endpoint serves. The dicts are shared between days and callers: copy before changing one."""

    def images_on(self, day: int) -> list[Image]:
        """All images of that day, in the order in which they are listed."""

    def newborn(self, serial: int, day: int) -> Image:
        """An image that no day has: for changes made while a listing is read."""


class FileAccount:
    """The same images every day."""

    def __init__(self, images: Sequence[Image]) -> None:
        self._images = list(images)

    def images_on(self, day: int) -> list[Image]:  # noqa: ARG002 - the same every day
        """All images, in the file's order."""
        return list(self._images)

    def newborn(self, serial: int, day: int) -> Image:
        """A made image with an id of its own."""
        return _newborn("file", serial, day)


class _Day(NamedTuple):
    images: list[Image]
    next_serial: int


class LivingAccount:
    """A made account that lives: each day follows from the day before."""

    def __init__(self, images: int, seed: int) -> None:
        self._count = images
        self._seed = seed
        self._regions = regions_of(seed)
        self._days: dict[int, _Day] = {}  # day 0 and the last few asked for; the rest is lived through again

    def images_on(self, day: int) -> list[Image]:
        """All images of that day, newest first."""
        if day < 0:
            raise ValueError(f"day {day}: an account lives from day 0 on")
        if not self._days:
            self._days[0] = self._first_day()
        at = max(known for known in self._days if known <= day)
        state = self._days[at]
        for number in range(at + 1, day + 1):
            state = self._next_day(state, number)
        self._days.pop(day, None)
        self._days[day] = state
        while len(self._days) > KEPT_DAYS:
            del self._days[next(known for known in self._days if known)]
        return list(state.images)

    def newborn(self, serial: int, day: int) -> Image:
        """A made image with an id of its own."""
        return _newborn(self._seed, serial, day)

    def _first_day(self) -> _Day:
        rng = dice(self._count, self._seed, "day 0")
        maker = Maker(rng, self._regions)
        seen_s = _seen_s(0)
        unfinished = min(self._count // 4, max(2, self._count // 250))  # the newest are still being made
        settled = self._count - unfinished
        ages_s = [7_200 + OLDEST_YEARS * (YEAR_S - 900) * rng.random() ** 1.7 for _ in range(settled)]
        ages_s += [rng.random() * 7_200 for _ in range(unfinished)]
        ages_s.sort(reverse=True)
        images = [maker.image(n, seen_s - age, is_unfinished=n >= settled) for n, age in enumerate(ages_s)]
        images.reverse()
        return _Day(images, self._count)

    def _next_day(self, before: _Day, day: int) -> _Day:
        rng = dice(self._count, self._seed, "day", day)
        images = list(before.images)
        is_quiet = not _finish(images, rng)

        gone = min(_how_many(GONE * len(images), rng), len(images))
        changed = min(_how_many(CHANGED * len(images), rng), len(images))
        born = _how_many(BORN * self._count, rng)
        if is_quiet and not gone + changed + born and images and rng.random() < 0.5:  # a coin
            changed = 1  # or a small account would sleep for weeks
        for place in rng.sample(range(len(images)), changed):
            images[place] = _changed(images[place], rng)
        for place in sorted(rng.sample(range(len(images)), gone), reverse=True):
            del images[place]

        if born:
            maker = Maker(rng, self._regions)
            seen_s, serial = _seen_s(day), before.next_serial
            ages_s = sorted((rng.random() * SEEN_AT.total_seconds() for _ in range(born)), reverse=True)
            new = [
                maker.image(serial + n, seen_s - age_s, is_unfinished=rng.random() < 0.5)  # a coin
                for n, age_s in enumerate(ages_s)
            ]
            images = new[::-1] + images
        return _Day(images, before.next_serial + born)


def living_account(images: int, seed: int = 1) -> LivingAccount:
    """An account with exactly `images` images on day 0.

    Raises:
        ValueError: the number is negative.
    """
    if images < 0:
        raise ValueError(f"{images} images: an account has none or more")
    return LivingAccount(images, seed)


def read_account(path: str | Path) -> FileAccount:
    """The account in a JSON file: a response of DescribeSelfImages, or a plain list of images.

    Raises:
        ValueError: the file is not JSON, or holds something else (it says what).
        OSError: the file cannot be read.
    """
    try:
        found: Any = json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: not JSON: {error}") from None
    images = found
    if isinstance(found, dict):
        if "Images" not in found:
            raise ValueError(f"{path}: expected 'Images', found {_keys(found)}")
        images = found["Images"] or []  # null: the response of an empty account
        if isinstance(images, dict):
            images = images.get("Image", found["Images"]) or []
    if not isinstance(images, list):
        raise ValueError(  # noqa: TRY004 - the file is bad, not the caller
            f"{path}: expected a list of images or a response of DescribeSelfImages, found {_kind(images)}"
        )
    for number, image in enumerate(images, start=1):
        if not isinstance(image, dict):
            raise ValueError(  # noqa: TRY004 - likewise
                f"{path}: image {number} is {_kind(image)}, expected an object"
            )
    return FileAccount(images)


def _seen_s(day: int) -> float:
    return (DAY_0 + SEEN_AT + timedelta(days=day)).timestamp()


def _newborn(seed: object, serial: int, day: int) -> Image:
    maker = Maker(dice(seed, "newborn", serial), regions_of(seed), prefix="m-5new")
    return maker.image(serial, _seen_s(day))


def _how_many(expected: float, rng: random.Random) -> int:
    return int(expected * (0.5 + rng.random()) + rng.random())


def _finish(images: list[Image], rng: random.Random) -> int:
    """Most of what was being made is ready a day later, some of it failed; returns how many changed."""
    finished = 0
    for place, image in enumerate(images[: max(200, len(images) // 50)]):  # the newest are at the head
        status = image["Status"]
        if status not in UNFINISHED:
            continue
        roll = rng.random()
        if roll < 0.1:  # a share stays as it is
            continue
        failed = "Upload_failed" if status == "Uploading" else "Pack_failed"
        images[place] = {**image, "Status": failed if roll < 0.2 else "Available"}  # a share
        finished += 1
    return finished


def _changed(image: Image, rng: random.Random) -> Image:
    roll = rng.random()
    if roll < 0.25:  # a share is renamed
        name = image["ImageName"].split(" v")[0]
        return {**image, "ImageName": f"{name} v{2 + int(rng.random() * 8)}"}
    if roll < 0.35 and image["Status"] in _TURNED:  # a share goes out of use, or comes back
        return {**image, "Status": _TURNED[image["Status"]]}
    return _grown(image, rng, has_new_size=roll > 0.7)  # a share


def _grown(image: Image, rng: random.Random, *, has_new_size: bool) -> Image:
    stored = int(int(image["ImageStorageSize"]) * rng.uniform(1.02, 1.3)) + 1
    grown = {**image, "ImageStorageSize": str(stored)}
    if not has_new_size or "ImageSize" not in image:
        return grown
    more = 20 * (1 + int(rng.random() * 5))
    grown["ImageSize"] = str(int(image["ImageSize"]) + more)
    disks = (image.get("DiskDeviceMappings") or {}).get("DiskDeviceMapping")
    if disks:
        last = {**disks[-1], "Size": str(int(disks[-1]["Size"]) + more)}
        grown["DiskDeviceMappings"] = {"DiskDeviceMapping": [*disks[:-1], last]}
    return grown


def _keys(found: dict[str, Any]) -> str:
    return ", ".join(sorted(found)[:8]) or "an empty object"


def _kind(found: object) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(found), "a number")
