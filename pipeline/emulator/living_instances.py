"""The instances of a generated account: they run from its images, and change from day to day.

    LivingInstances(60, seed=1, images_on=account.images_on)    day 0: exactly 60 instances
        .on(day=1)    a few created, started, stopped, renewed, expired, re-initialised with another image, released

A few run from public images, and a few from images that are deleted: nothing keeps an account from deleting an image
that an instance was created from. The instances of a day are a pure function of (images, instances, seed, day), newest
first. An id is never reused.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pipeline.emulator.days import LISTED_AT, Days, listed_s
from pipeline.emulator.image_generator import YEAR_S, format_instant
from pipeline.emulator.instance_generator import (
    A_DAY_S,
    PAY_AS_YOU_GO,
    SUBSCRIPTION,
    Instance,
    InstanceGenerator,
    account_nodes,
    runs_from,
)
from pipeline.emulator.rng import random_count, random_id, seeded_rng

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from pipeline.emulator.image_generator import Image

OLDEST_S: Final = 3 * YEAR_S
PUBLIC_SHARE: Final = 0.1  # of the instances: from a public image
GONE_SHARE: Final = 0.06  # of the instances of day 0: from an image that is deleted
USED_SHARE: Final = 0.4  # of the images of day 0: an instance may run from them
CREATED_SHARE, RELEASED_SHARE = 0.02, 0.015  # of the instances, a day, ±50 %
RENEWED_SHARE, RENEWED_LATE_SHARE = 0.6, 0.05  # of the subscriptions that end today; of those that ended, a day
KEPT_EXPIRED_S: Final = 15 * A_DAY_S
_TOGGLED: Final = {"Running": "Stopped", "Stopped": "Running"}


class _Day(NamedTuple):
    instances: list[Instance]
    next_serial: int


class LivingInstances:
    """The instances of an account with exactly `count` of them on day 0."""

    def __init__(self, count: int, seed: int, images_on: Callable[[int], list[Image]]) -> None:
        self._count = count
        self._seed = seed
        self._nodes = account_nodes(seed)
        self._images_on = images_on
        self._days = Days(self._first_day, self._next_day)

    def on(self, day: int) -> list[Instance]:
        """Return all instances of that day, newest first.

        Raises:
            ValueError: the day is negative.
        """
        return list(self._days.on(day).instances)

    def _first_day(self) -> _Day:
        rng = seeded_rng(self._count, self._seed, "instances")
        generator = InstanceGenerator(rng, self._nodes)
        present_s = listed_s(0)
        usable = [image for image in self._images_on(0) if is_usable(image)]
        used = rng.sample(usable, min(len(usable), 1 + int(USED_SHARE * len(usable))))
        gone = [_gone_image(rng) for _ in range(1 + self._count // 60)]
        births: list[tuple[float, Image | None]] = []
        for _ in range(self._count):
            draw = rng.random()
            image: Image | None = None
            if draw < GONE_SHARE:
                image = rng.choice(gone)
            elif draw > GONE_SHARE + PUBLIC_SHARE and used:
                image = used[int(len(used) * rng.random() ** 2)]  # a few images run most instances
            births.append((_birth_s(image, present_s, rng), image))
        births.sort(key=lambda birth: birth[0])
        instances = [
            _expire(generator.new_instance(serial, born_s, present_s, image), present_s)
            for serial, (born_s, image) in enumerate(births)
        ]
        return _Day(instances[::-1], self._count)

    def _next_day(self, previous: _Day, day: int) -> _Day:
        rng = seeded_rng(self._count, self._seed, "instances", day)
        present_s = listed_s(day)
        kept = [_pass_day(each, present_s, rng) for each in previous.instances if not _is_released(each, present_s)]
        settled_s = present_s - LISTED_AT.total_seconds()  # no instance is older than its image
        usable = [image for image in self._images_on(day) if is_usable(image) and _created_s(image) < settled_s]
        choice = _ImageChoice(usable, kept)
        instances = _change(kept, choice, present_s, rng)
        created = random_count(CREATED_SHARE * self._count, rng)
        generator = InstanceGenerator(rng, self._nodes)
        ages_s = sorted((rng.random() * LISTED_AT.total_seconds() for _ in range(created)), reverse=True)
        serial = previous.next_serial
        new_instances = []
        for number, age_s in enumerate(ages_s):
            born_s = present_s - age_s
            new_instances.append(generator.new_instance(serial + number, born_s, present_s, choice.draw(rng)))
        return _Day([*new_instances[::-1], *instances], serial + created)


def extra_instance(seed: object, serial: int, day: int, images: Sequence[Image]) -> Instance:
    """Generate an instance with an unused id, from one of these images or a public one."""
    rng = seeded_rng(seed, "new instance", serial)
    usable = [image for image in images if is_usable(image)]
    image = rng.choice(usable) if usable and rng.random() > PUBLIC_SHARE else None
    present_s = listed_s(day)
    generator = InstanceGenerator(rng, account_nodes(seed), prefix="i-5new")
    return generator.new_instance(serial, present_s, present_s, image)


def is_usable(image: Image) -> bool:
    """Return whether an instance can be created from the image."""
    return image.get("Status") == "Available" and isinstance(image.get("ImageId"), str)


def _gone_image(rng: random.Random) -> Image:
    system = {"Platform": "centos", "OsVersion": "7.6", "Architecture": "x86_64", "ComputeType": "ens_vm"}
    return {"ImageId": random_id(rng, "m-5"), "ImageSize": "40", **system}


def _created_s(image: Image) -> float:
    return datetime.fromisoformat(image["CreationTime"]).timestamp()


def _birth_s(image: Image | None, present_s: float, rng: random.Random) -> float:
    """Choose when an instance was created: after its image."""
    oldest_s = present_s - OLDEST_S
    if image is not None and "CreationTime" in image:
        oldest_s = max(oldest_s, min(_created_s(image) + 600, present_s))
    return oldest_s + (present_s - oldest_s) * rng.random()


class _ImageChoice:
    """The images of a day that an instance can run from, newest first."""

    def __init__(self, usable: Sequence[Image], instances: Sequence[Instance]) -> None:
        self._usable = usable
        known = {image["ImageId"]: image for image in usable}
        used = (known.get(instance["ImageId"]) for instance in instances)
        self._used = [image for image in used if image]

    def draw(self, rng: random.Random) -> Image | None:
        """Choose one of the newest, one that others run from, or a public one (None)."""
        draw = rng.random()
        if not self._usable or draw < PUBLIC_SHARE:
            return None
        if draw < 0.5 and self._used:
            return rng.choice(self._used)
        return self._usable[int(rng.random() * (1 + len(self._usable) // 10))]


def _instant_s(instance: Instance, field: str) -> float | None:
    text: Any = instance.get(field)
    return datetime.fromisoformat(text).timestamp() if text else None


def _is_released(instance: Instance, present_s: float) -> bool:
    release_s, expired_s = (_instant_s(instance, field) for field in ("AutoReleaseTime", "ExpiredTime"))
    return (release_s is not None and release_s <= present_s) or (
        expired_s is not None and expired_s + KEPT_EXPIRED_S <= present_s
    )


def _expire(instance: Instance, present_s: float) -> Instance:
    expired_s = _instant_s(instance, "ExpiredTime")
    if expired_s is None or expired_s > present_s:
        return instance
    return {**instance, "Status": "Expired", "ServiceStatus": "Expired"}


def _pass_day(instance: Instance, present_s: float, rng: random.Random) -> Instance:
    """Renew a subscription that ended, or let it expire."""
    expired_s = _instant_s(instance, "ExpiredTime")
    if instance["InstanceResourceType"] != SUBSCRIPTION or expired_s is None or expired_s > present_s:
        return instance
    share = RENEWED_LATE_SHARE if instance["Status"] == "Expired" else RENEWED_SHARE
    if rng.random() >= share:
        return _expire(instance, present_s)
    while expired_s <= present_s:
        expired_s += 30 * A_DAY_S
    status = "Stopped" if instance["Status"] == "Expired" else instance["Status"]
    renewed = {"ExpiredTime": format_instant(expired_s, has_seconds=True), "Status": status, "ServiceStatus": "Normal"}
    return {**instance, **renewed}


def _change(instances: list[Instance], choice: _ImageChoice, present_s: float, rng: random.Random) -> list[Instance]:
    """Release, start, stop, re-initialise, rename and protect a few instances; let a few be released later."""
    shares: tuple[tuple[float, Callable[[Instance], Instance | None]], ...] = (
        (RELEASED_SHARE, lambda each: each if each["DeletionProtection"] else None),
        (0.02, lambda each: {**each, "Status": _TOGGLED.get(each["Status"], each["Status"])}),
        (0.012, lambda each: _reinitialize(each, choice.draw(rng), rng)),
        (0.004, lambda each: {**each, "InstanceName": f"{each['InstanceName'].split(' v')[0]} v{rng.randint(2, 9)}"}),
        (0.004, lambda each: {**each, "DeletionProtection": not each["DeletionProtection"]}),
        (0.004, lambda each: _release_later(each, present_s, rng)),
    )
    changed: list[Instance | None] = list(instances)
    for share, change in shares:
        count = min(random_count(share * len(instances), rng), len(instances))
        for position in rng.sample(range(len(instances)), count):
            instance = changed[position]
            changed[position] = instance and change(instance)
    return [instance for instance in changed if instance]


def _reinitialize(instance: Instance, image: Image | None, rng: random.Random) -> Instance:
    """Replace the system disk's content by another image; id and creation time stay."""
    if instance["Status"] == "Expired":
        return instance
    return {**instance, **runs_from(image, rng), "Status": "Running"}


def _release_later(instance: Instance, present_s: float, rng: random.Random) -> Instance:
    if instance["InstanceResourceType"] != PAY_AS_YOU_GO or instance["DeletionProtection"]:
        return instance
    release_s = present_s + rng.randint(1, 10) * A_DAY_S
    return {**instance, "AutoReleaseTime": format_instant(release_s, has_seconds=True)}
