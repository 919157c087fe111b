"""A lake in plain Python: the answers that every table and view must give, from what an endpoint served.

    served JSON  →  Try(rows of images, disks, rejects)  →  Model: tries by run and account, withdrawn or not
                                                              └→ answers(): rows of each view, computed anew

It imports nothing of the pipeline, keeps no file and no version: each answer is computed from all observations.
"""

# ruff: noqa: S608  (SQL of this module)

from __future__ import annotations

import datetime as dt
import itertools
import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Item = dict[str, Any]
Rows = list[tuple[Any, ...]]
Key = tuple[str, str]
"""Run and account."""

TEXTS: Final = {
    "image_name": "ImageName", "image_owner": "ImageOwnerAlias", "status": "Status", "platform": "Platform",
    "os_version": "OsVersion", "architecture": "Architecture", "compute_type": "ComputeType", "region_id": "RegionId",
    "instance_id": "InstanceId", "snapshot_id": "SnapshotId",
}  # fmt: skip
FIELDS: Final = (
    "image_name", "image_owner", "status", "platform", "os_version", "architecture", "compute_type", "region_id",
    "image_size_gib", "image_storage_size", "created_at_utc", "instance_id", "snapshot_id", "extra",
)  # fmt: skip
SUMS: Final = ("disk_count", "unsized_disk_count", "disk_size_gib")
DISK: Final = ("disk_number", "disk_type", "disk_size_gib", "disk_format", "disk_image_id", "extra")
_KNOWN: Final = {"ImageId", "ImageSize", "ImageStorageSize", "CreationTime", "DiskDeviceMappings", *TEXTS.values()}


@dataclass(slots=True)
class Try:
    """One account in one run."""

    run_id: str
    account: str
    observed_on: dt.date
    at: dt.datetime | None = None
    """The instant of the observation; None where no listing ended."""
    certificate: str | None = None
    error: str | None = None
    """The name of the error; None where it was published."""
    images: dict[str, Item] = field(default_factory=dict)
    rejects: Rows = field(default_factory=list)
    unknown_fields: set[str] = field(default_factory=set)
    is_withdrawn: bool = False

    @property
    def key(self) -> Key:
        """Run and account."""
        return self.run_id, self.account

    @property
    def is_published(self) -> bool:
        """Whether its rows are in the lake."""
        return self.error is None and not self.is_withdrawn

    @property
    def order(self) -> tuple[dt.datetime, str]:
        """Its place among the observations of its account."""
        return self.at or dt.datetime.min, self.run_id  # noqa: DTZ901  (UTC without a zone, as everywhere)

    def take(self, items: Iterable[Item]) -> None:
        """Take what the endpoint served, typed."""
        for item in items:
            if not item["ImageId"]:
                self.rejects.append((None, "ImageId", json.dumps(item, separators=(",", ":"), ensure_ascii=False)))
                continue
            self._take_image(item)

    def _take_image(self, item: Item) -> None:
        image_id = item["ImageId"]
        row: Item = {name: item.get(api) for name, api in TEXTS.items()}
        row["image_size_gib"] = self._integer(image_id, "ImageSize", item.get("ImageSize"))
        row["image_storage_size"] = self._integer(image_id, "ImageStorageSize", item.get("ImageStorageSize"))
        row["created_at_utc"] = self._past(image_id, "CreationTime", item.get("CreationTime"))
        unknown = {name: value for name, value in item.items() if name not in _KNOWN}
        row["extra"] = json.dumps(unknown, separators=(",", ":")) if unknown else None
        self.unknown_fields |= unknown.keys()
        disks = []
        for number, disk in enumerate((item.get("DiskDeviceMappings") or {}).get("DiskDeviceMapping") or [], start=1):
            size = self._integer(image_id, f"DiskDeviceMapping[{number}].Size", disk.get("Size"))
            disks.append((number, disk.get("Type"), size, disk.get("Format"), disk.get("imageId"), None))
        sizes = [disk[2] for disk in disks if disk[2] is not None]
        row |= {"disk_count": len(disks), "unsized_disk_count": len(disks) - len(sizes)}
        row |= {"disk_size_gib": sum(sizes) if sizes else None, "disks": disks}
        self.images[image_id] = row

    def _integer(self, image_id: str, name: str, text: str | None) -> int | None:
        if text is None:
            return None
        if text.isdigit():
            return int(text)
        self.rejects.append((image_id, name, json.dumps(text)))
        return None

    def _past(self, image_id: str, name: str, text: str | None) -> dt.datetime | None:
        if text is None:
            return None
        instant = dt.datetime.fromisoformat(text.rstrip("Z"))
        if self.at is None or instant < self.at + dt.timedelta(days=1):
            return instant
        self.rejects.append((image_id, name, json.dumps(text)))
        return None


@dataclass(slots=True)
class Version:
    """An image with equal values over consecutive observations, by their places in the list of them."""

    image_id: str
    first: int
    last: int
    row: Item
    life: int = 0
    gone: int | None = None
    previous: Version | None = None
    next: Version | None = None


@dataclass(slots=True)
class Model:
    """Every try that the lake knows."""

    tries: dict[Key, Try] = field(default_factory=dict)

    def published(self, account: str | None = None) -> list[Try]:
        """Return what is published, in order."""
        found = [one for one in self.tries.values() if one.is_published and account in {None, one.account}]
        return sorted(found, key=lambda one: one.order)

    def latest(self) -> dict[str, Try]:
        """Return each account's last observation."""
        return {one.account: one for one in self.published()}

    def accounts(self) -> list[str]:
        """Return every account that was ever tried."""
        return sorted({one.account for one in self.tries.values()})

    def as_of(self, at: dt.datetime) -> Model:
        """Return the lake as it was, by what is known now."""
        return Model({key: one for key, one in self.tries.items() if (one.at or began(one.run_id)) <= at})

    def failed_since(self, account: str, last_run: str = "~") -> list[Try]:
        """Return the tries of an account that failed since its last observation, none of them withdrawn."""
        latest = self.latest().get(account)
        after = latest.run_id if latest else ""
        found = [
            one
            for one in self.tries.values()
            if one.account == account and one.error and not one.is_withdrawn and after < one.run_id <= last_run
        ]
        return sorted(found, key=lambda one: one.run_id)

    def versions(self, account: str) -> tuple[list[Try], list[Version]]:
        """Return the observations of an account, and the versions of its images over them."""
        seen = self.published(account)
        verified = [one.certificate == "verified" for one in seen]
        found: list[Version] = []
        for image_id in sorted({image_id for one in seen for image_id in one.images}):
            chain: list[Version] = []
            for place, one in enumerate(seen):
                row = one.images.get(image_id)
                if row is None:
                    continue
                if chain and chain[-1].last == place - 1 and chain[-1].row == row:
                    chain[-1].last = place
                else:
                    chain.append(Version(image_id, place, place, row, life=place))
            for earlier, later in itertools.pairwise(chain):
                if not any(verified[earlier.last + 1 : later.first]):
                    earlier.next, later.previous, later.life = later, earlier, earlier.life
            for version in chain:
                if version.next is None:
                    version.gone = next((p for p in range(version.last + 1, len(seen)) if verified[p]), None)
            found += chain
        return seen, found

    def status(self, now: dt.datetime, max_age: dt.timedelta) -> dict[str, tuple[str, int]]:
        """Return the state of each account, and how often it failed since its last observation."""
        last_run = run_name(now + dt.timedelta(days=1))
        states = {}
        for account in self.accounts():
            latest, failed = self.latest().get(account), self.failed_since(account, last_run)
            age = now - latest.at if latest and latest.at else None
            state = "ok"
            if age is None:
                state = "never published"
            elif failed:
                state = "failed since"
            elif age > max_age:
                state = "too old"
            elif age < -dt.timedelta(minutes=15):
                state = "in the future"
            states[account] = state, len(failed)
        return states

    def ahead(self, now: dt.datetime) -> set[str]:
        """Return the tries whose run began more than a day from now."""
        last = run_name(now + dt.timedelta(days=1))
        return {"/".join(key) for key, one in self.tries.items() if one.run_id > last and not one.is_withdrawn}


def run_name(at: dt.datetime) -> str:
    """Return the id of a run that begins then."""
    return f"{at:%Y%m%dT%H%M%S.%fZ}"


def began(run_id: str) -> dt.datetime:
    """Return when a run began, to the second."""
    return dt.datetime.strptime(run_id[:15], "%Y%m%dT%H%M%S")  # noqa: DTZ007


# ── answers ──────────────────────────────────────────────────────────────────


def observations(model: Model) -> Iterator[tuple[Any, ...]]:
    """Answer: every try."""
    for one in model.tries.values():
        counts: tuple[Any, ...] = (None,) * 5
        if one.is_published:
            disk_count = sum(len(row["disks"]) for row in one.images.values())
            counts = one.certificate, len(one.images), disk_count, len(one.rejects), len(one.unknown_fields)
        error = "Withdrawn" if one.is_withdrawn else one.error
        yield (one.account, one.run_id, one.at, one.observed_on, one.is_published, error, *counts)


def images(tries: Iterable[Try]) -> Iterator[tuple[Any, ...]]:
    """Answer: the images of these observations."""
    for one in tries:
        for image_id, row in one.images.items():
            yield (one.account, one.at, one.observed_on, image_id, *(row[name] for name in (*FIELDS, *SUMS)))


def disks(tries: Iterable[Try]) -> Iterator[tuple[Any, ...]]:
    """Answer: the disks of these observations."""
    for one in tries:
        for image_id, row in one.images.items():
            yield from ((one.account, one.at, one.observed_on, image_id, *disk) for disk in row["disks"])


def rejects(tries: Iterable[Try]) -> Iterator[tuple[Any, ...]]:
    """Answer: the values that could not be typed."""
    for one in tries:
        yield from ((one.account, one.at, one.observed_on, *reject) for reject in one.rejects)


def accounts(model: Model) -> Iterator[tuple[Any, ...]]:
    """Answer: the last observation of each account, and the failures since."""
    for account in model.accounts():
        latest, failed = model.latest().get(account), model.failed_since(account)
        known = (latest.at, latest.run_id, latest.certificate, len(latest.images)) if latest else (None,) * 4
        yield (account, *known, len(failed), failed[-1].error if failed else None, bool(failed))


def _at(seen: list[Try], place: int | None) -> dt.datetime | None:
    return None if place is None else seen[place].at


def image_versions(model: Model) -> Iterator[tuple[Any, ...]]:
    """Answer: the versions."""
    for account in model.accounts():
        seen, found = model.versions(account)
        for one in found:
            places = (one.first, one.last, one.gone, one.life)
            others = (one.previous.last if one.previous else None, one.next.first if one.next else None)
            instants = [_at(seen, place) for place in (*places, *others)]
            values = [one.row[name] for name in (*FIELDS, *SUMS)]
            yield (account, one.image_id, *instants, *values, tuple(one.row["disks"]), one.last == len(seen) - 1)


def image_lifetimes(model: Model) -> Iterator[tuple[Any, ...]]:
    """Answer: the lifetimes."""
    for account in model.accounts():
        seen, found = model.versions(account)
        for one in found:
            if one.next is None:
                state = "gone" if one.gone is not None else "here" if one.last == len(seen) - 1 else "unseen"
                before = _at(seen, _verified_before(seen, one.life))
                instants = (before, *(_at(seen, place) for place in (one.life, one.last, one.gone)))
                yield (account, one.image_id, one.row["image_name"], one.row["image_size_gib"], *instants, state)


def _verified_before(seen: list[Try], place: int) -> int | None:
    return next((p for p in range(place - 1, -1, -1) if seen[p].certificate == "verified"), None)


def image_changes(model: Model) -> Iterator[tuple[Any, ...]]:
    """Answer: what changed from one observation of an account to the next; of disks, not the values."""
    for account in model.accounts():
        seen, found = model.versions(account)
        for one in found:
            yield from ((account, *change) for change in _arrival(seen, one))
            yield from ((account, *change) for change in _end(seen, one))
            if one.previous is not None:
                yield from ((account, *change) for change in _changed(seen, one, one.previous))


_Change = tuple[Any, ...]
"""Both instants, the image, the change, and the field with its values."""


def _arrival(seen: list[Try], one: Version) -> Iterator[_Change]:
    if one.first == 0 or (one.previous and one.previous.last == one.first - 1):
        return
    verified = _verified_before(seen, one.first)
    is_proven = one.previous is None and verified is not None
    before = verified if is_proven else one.first - 1
    change = "appeared" if is_proven else "seen"
    yield _at(seen, one.first), _at(seen, before), one.image_id, change, None, None, None


def _end(seen: list[Try], one: Version) -> Iterator[_Change]:
    if one.gone is not None:
        yield _at(seen, one.gone), _at(seen, one.last), one.image_id, "gone", None, None, None
    after = one.last + 1
    is_missing = after < len(seen) and not (one.next and one.next.first == after)
    if is_missing and seen[after].certificate != "verified":
        yield _at(seen, after), _at(seen, one.last), one.image_id, "unseen", None, None, None


def _changed(seen: list[Try], one: Version, before: Version) -> Iterator[_Change]:
    instants = _at(seen, one.first), _at(seen, before.last)
    for name in FIELDS:
        old, new = before.row[name], one.row[name]
        if old != new:
            texts = (None if value is None else str(value) for value in (old, new))
            yield *instants, one.image_id, "changed", name, *texts
    if one.row["disks"] != before.row["disks"]:
        yield *instants, one.image_id, "changed", "disks", None, None


def changes_by_observation(model: Model) -> Iterator[tuple[Any, ...]]:
    """Answer: how many images changed, by observation."""
    changed: dict[tuple[str, Any, str], set[tuple[str, int]]] = defaultdict(set)
    for account, at, before, image_id, change, *_ in image_changes(model):
        row = _row_at(model, account, before if change == "gone" else at, image_id)
        changed[account, at, change].add((image_id, row.get("image_size_gib") or 0))
    for account in model.accounts():
        for before, one in itertools.pairwise(model.published(account)):
            sets = {c: changed[account, one.at, c] for c in ("appeared", "gone", "changed", "seen", "unseen")}
            size = {change: sum(gib for _, gib in found) for change, found in sets.items()}
            counts = (len(sets["appeared"]), size["appeared"], len(sets["gone"]), size["gone"])
            yield (account, one.at, before.at, *counts, *(len(sets[c]) for c in ("changed", "seen", "unseen")))


def _row_at(model: Model, account: str, at: dt.datetime | None, image_id: str) -> Item:
    return next((one.images.get(image_id, {}) for one in model.published(account) if one.at == at), {})


def capacity_by_day(model: Model) -> Iterator[tuple[Any, ...]]:
    """Answer: capacity of all accounts on each day, the last value carried on."""
    published = [(one.at.date(), one) for one in model.published() if one.at]
    if not published:
        return
    by_day: dict[dt.date, dict[str, Try]] = defaultdict(dict)
    for day, one in published:
        by_day[day][one.account] = one
    known: dict[str, Try] = {}
    for number in range((published[-1][0] - published[0][0]).days + 1):
        day = published[0][0] + dt.timedelta(days=number)
        known |= by_day[day]
        rows = [row for one in known.values() for row in one.images.values()]
        own, shared = ([row for row in rows if row["image_owner"] == owner] for owner in ("self", "others"))
        unsized = sum(row["image_size_gib"] is None for row in own)
        yield (
            day, len(known), len(known) - len(by_day[day]), len(own), _sum(own, "image_size_gib"), unsized,
            _sum(own, "disk_count"), _sum(own, "disk_size_gib"), len(shared), _sum(shared, "image_size_gib"),
            len(rows) - len(own) - len(shared),
        )  # fmt: skip


def _sum(rows: Iterable[Item], name: str) -> int:
    return sum(row[name] or 0 for row in rows)


_VALUES: Final = ", ".join((*FIELDS, *SUMS))
_OF_DISK: Final = ", ".join(DISK)

QUERIES: Final = {
    "observations": "select account, run_id, observed_at_utc, observed_on, is_published, split_part(error, ':', 1), "
    + ", ".join(
        f"case when is_published then {name} end"
        for name in ("certificate", "item_count", "child_item_count", "reject_count", "unknown_field_count")
    )
    + " from observations",
    "accounts": "select account, observed_at_utc, run_id, certificate, image_count, failed_try_count, "
    "split_part(last_error, ':', 1), is_stale from accounts",
    "images_latest": f"select account, observed_at_utc, observed_on, image_id, {_VALUES} from images_latest",
    "image_disks_latest": f"select account, observed_at_utc, observed_on, image_id, {_OF_DISK} from image_disks_latest",
    "images": f"select account, observed_at_utc, observed_on, image_id, {_VALUES} from images",
    "image_disks": f"select account, observed_at_utc, observed_on, image_id, {_OF_DISK} from image_disks",
    "rejects": "select account, observed_at_utc, observed_on, item_id, field, raw_json from rejects",
    "image_versions": "select account, image_id, first_seen_utc, last_seen_utc, gone_at_utc, life_began_utc, "
    f"previous_seen_utc, next_seen_utc, {_VALUES}, disks, is_current from image_versions",
    "image_lifetimes": "select account, image_id, image_name, image_size_gib, missing_until_utc, life_began_utc, "
    "last_seen_utc, gone_at_utc, state from image_lifetimes",
    "image_changes": "select account, observed_at_utc, previous_observed_at_utc, image_id, change, field, "
    "case when field <> 'disks' then old_value end, case when field <> 'disks' then new_value end from image_changes",
    "changes_by_observation": "select account, observed_at_utc, previous_observed_at_utc, appeared_image_count, "
    "appeared_image_size_gib, gone_image_count, gone_image_size_gib, changed_image_count, seen_image_count, "
    "unseen_image_count from changes_by_observation",
    "capacity_by_day": "select day_utc, account_count, carried_account_count, image_count, image_size_gib, "
    "unsized_image_count, disk_count, disk_size_gib, shared_image_count, shared_image_size_gib, other_image_count "
    "from capacity_by_day",
}
"""For each view, the query whose rows the model predicts."""
CHEAP: Final = ("observations", "accounts", "images_latest", "image_disks_latest")


def answers(model: Model, names: Iterable[str] = tuple(QUERIES)) -> dict[str, Rows]:
    """Answer the queries of these views, each with its rows in one order."""
    found = {
        "observations": lambda: observations(model),
        "accounts": lambda: accounts(model),
        "images_latest": lambda: images(model.latest().values()),
        "image_disks_latest": lambda: disks(model.latest().values()),
        "images": lambda: images(model.published()),
        "image_disks": lambda: disks(model.published()),
        "rejects": lambda: rejects(model.published()),
        "image_versions": lambda: image_versions(model),
        "image_lifetimes": lambda: image_lifetimes(model),
        "image_changes": lambda: image_changes(model),
        "changes_by_observation": lambda: changes_by_observation(model),
        "capacity_by_day": lambda: capacity_by_day(model),
    }
    return {name: in_order(found[name]()) for name in names}


def in_order(rows: Iterable[tuple[Any, ...]]) -> Rows:
    """Sort rows, whatever they hold; a list of disks becomes a tuple of their values."""
    plain = [
        tuple(tuple(tuple(disk.values()) for disk in cell) if isinstance(cell, list) else cell for cell in row)
        for row in rows
    ]
    return sorted(plain, key=repr)
