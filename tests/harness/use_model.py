"""Use of images over random accounts, by a plain-Python model: `python tests/harness/use_model.py 2000` for as many.

Two accounts live for some days: images and instances come and go, images are shared, instances are re-initialised from
another image. Listings fail or prove nothing; a key gets its right late, and until then a refusal or an empty list. The
image of an instance may not be readable: null or empty in the listing, while the instance uses one.
"""

from __future__ import annotations

import datetime as dt
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from lake_builder import Seen, image, instance, write_run

from pipeline.views.connection import connect

START = dt.datetime(2026, 10, 1, 2)  # noqa: DTZ001  (UTC)
ACCOUNTS = ("a", "b")
DAYS = 8

Items = dict[str, dict[str, Any]]


class Listing(NamedTuple):
    """One published listing: `rows` by id, and the `truth`: what existed at its instant."""

    account: str
    resource: str
    at: dt.datetime
    certificate: str
    rows: Items
    truth: Items

    @property
    def is_proof(self) -> bool:
        return (
            self.certificate == "verified"
            and len(self.rows) > 0
            and all(row.get("image_id") for row in self.rows.values())
        )


class Account:
    """An account that lives: its instances, and the right of its key to list them."""

    def __init__(self, name: str, rng: random.Random) -> None:
        self.name = name
        self.rng = rng
        self.instances: Items = {}
        self.unreadable: dict[str, str | None] = {}
        """What is read of an instance whose image cannot be."""
        self.late_right = rng.choice((0, 0, 3, 99))
        self.is_refused = rng.random() < 0.7
        """Without the right: NoPermission; else an empty list."""

    def live(self, now: dt.datetime, images: Items) -> None:
        rng = self.rng
        for instance_id in [each for each in self.instances if rng.random() < 0.15]:
            del self.instances[instance_id]
        for number in range(rng.randint(0, 2)):
            instance_id = f"i-{self.name}-{now:%d}-{number}"
            self.instances[instance_id] = {"created_at_utc": now - dt.timedelta(minutes=rng.randrange(50))}
            if rng.random() < 0.05:
                self.unreadable[instance_id] = rng.choice((None, ""))
        for each, values in self.instances.items():
            if "image_id" not in values or rng.random() < 0.1:
                status = rng.choice(("Running", "stopped", "Expired", "Odd"))
                self.instances[each] = values | {"image_id": rng.choice([*images, "public"]), "status": status}

    def list_instances(self, day: int, at: dt.datetime) -> Listing | None:
        """The listing of a day; None: refused."""
        rng, truth = self.rng, dict(self.instances)
        if day < self.late_right or rng.random() < 0.2:
            return None if self.is_refused else Listing(self.name, "instances", at, "verified", {}, truth)
        read = {
            each: values | {"image_id": self.unreadable.get(each, values["image_id"])} for each, values in truth.items()
        }
        if rng.random() < 0.75:
            return Listing(self.name, "instances", at, "verified", read, truth)
        some = {each: values for each, values in read.items() if rng.random() < 0.7}
        return Listing(self.name, "instances", at, "counted", some, truth)


def new_images(now: dt.datetime, rng: random.Random) -> Items:
    def born() -> dt.datetime | None:
        return rng.choice((now - dt.timedelta(hours=rng.choice((1, 30, 3_000))), now, None))

    return {
        f"m-{now:%d}-{number}": {
            "owner": rng.choice(ACCOUNTS),
            "is_shared": rng.random() < 0.3,
            "created_at_utc": born(),
            "image_size_gib": rng.choice((None, 20, 40, 100)),
        }
        for number in range(rng.randint(0, 3))
    }


def listed_images(account: str, images: Items) -> Items:
    """The images that an account sees, as rows."""
    return {
        image_id: {
            "image_owner": "self" if values["owner"] == account else "others",
            "created_at_utc": values["created_at_utc"],
            "image_size_gib": values["image_size_gib"],
        }
        for image_id, values in images.items()
        if values["owner"] == account or values["is_shared"]
    }


def write_history(data: Path, seed: int) -> list[Listing]:
    """Write the runs of some days into a lake. Returns: their published listings."""
    rng = random.Random(seed)  # noqa: S311
    accounts = [Account(name, rng) for name in ACCOUNTS]
    images: Items = {}
    listings: list[Listing] = []
    for day in range(DAYS):
        now = START + dt.timedelta(days=day)
        images |= new_images(now, rng)
        for image_id in [each for each in images if rng.random() < 0.05]:
            del images[image_id]
        run = []
        for number, account in enumerate(accounts):
            account.live(now, images)
            at = now + dt.timedelta(minutes=5 * number)
            seen = Seen(account.name, f"{at}", error=None if rng.random() < 0.85 else "StillThrottled: too many")
            if seen.error is None:
                rows = listed_images(account.name, images)
                seen.certificate = rng.choice(("verified", "verified", "counted"))
                seen.images = [image(image_id, **values) for image_id, values in rows.items()]
                listings.append(Listing(account.name, "images", at, seen.certificate, rows, rows))
            found = account.list_instances(day, at + dt.timedelta(seconds=rng.choice((-40, 0, 30))))
            if found is None:
                seen.instances_error = "NoPermission: the service refused ens:DescribeInstances"
            else:
                seen.instances = [instance(each, **values) for each, values in found.rows.items()]
                seen.instances_at, seen.instances_certificate = f"{found.at}", found.certificate
                listings.append(found)
            run.append(seen)
        write_run(data, *run, began=f"{now - dt.timedelta(minutes=1)}")
    return listings


# ── the model ────────────────────────────────────────────────────────────────


def whole_days(later: dt.datetime, earlier: dt.datetime) -> int:
    return int((later - earlier) / dt.timedelta(days=1))


def latest(listings: list[Listing]) -> dict[tuple[str, str], Listing]:
    return {(each.resource, each.account): each for each in sorted(listings, key=lambda each: each.at)}


def names(listing: Listing | None, image_id: str) -> list[dict[str, Any]]:
    return [row for row in listing.rows.values() if row["image_id"] == image_id] if listing else []


def model_use(listings: list[Listing]) -> dict[tuple[str, str], tuple[Any, ...]]:
    """(account, image) → the columns of `_USE` that follow."""
    now = latest(listings)
    of_instances = [each for each in listings if each.resource == "instances"]
    found = {}
    for account in ACCOUNTS:
        images, proof = now.get(("images", account)), now.get(("instances", account))
        for image_id, row in (images.rows if images else {}).items():
            own = names(proof, image_id)
            others = sum(len(names(now.get(("instances", other)), image_id)) for other in ACCOUNTS if other != account)
            existed = row["created_at_utc"] or images.at
            last_use = max((each.at for each in of_instances if names(each, image_id)), default=None)
            is_known = (
                proof is not None
                and proof.is_proof
                and existed <= proof.at
                and images.at - proof.at <= dt.timedelta(days=1)
                and (last_use is None or last_use < proof.at)
            )
            status = "in use" if own or others else "unused" if is_known else "not known"
            proofs = [each.at for each in of_instances if each.account == account and each.is_proof]
            since = [at for at in proofs if at >= existed and (last_use is None or at > last_use)]
            is_unused = status == "unused"
            created = [each["created_at_utc"] for each in own]
            ids = [each for each, values in (proof.rows if proof else {}).items() if values["image_id"] == image_id]
            found[account, image_id] = (
                status,
                len(own),
                sum(each["status"] == "Running" for each in own),
                others,
                min(ids, default=None),
                min(created, default=None),
                max(created, default=None),
                last_use,
                min(since) if is_unused else None,
                whole_days(proof.at, min(since)) if is_unused and proof else None,
            )
    return found


def model_by_day(listings: list[Listing]) -> dict[tuple[str, dt.date, str], tuple[Any, ...]]:
    """(account, day, image) → status, instances, last use, unused since, unused days, whether it is the last day."""
    by_day = {(e.resource, e.account, e.at.date()): e for e in sorted(listings, key=lambda e: e.at)}
    last_days = {account: day for resource, account, day in sorted(by_day) if resource == "images"}
    last_use: dict[tuple[str, str], dt.date] = {}
    since: dict[tuple[str, str], dt.datetime | None] = {}
    found = {}
    for (resource, account, day), images in sorted(by_day.items(), key=lambda entry: entry[0][2]):
        if resource != "images":
            continue
        proof = by_day.get(("instances", account, day))
        for image_id, row in images.rows.items():
            key = account, image_id
            count = sum(len(names(by_day.get(("instances", other, day)), image_id)) for other in ACCOUNTS)
            is_known = proof is not None and proof.is_proof and (row["created_at_utc"] or images.at) <= proof.at
            status = "in use" if count else "unused" if is_known else "not known"
            if status == "in use":
                last_use[key], since[key] = day, None
            elif status == "unused":
                since[key] = since.get(key) or proof.at
            began = since.get(key)
            days = whole_days(proof.at, began) if status == "unused" else None
            found[account, day, image_id] = (status, count, last_use.get(key), began, days, day == last_days[account])
    return found


def model_without_image(listings: list[Listing]) -> dict[tuple[str, str], tuple[str, str]]:
    """(account, instance) → image, state of the image."""
    now = latest(listings)
    images = sorted((each for each in listings if each.resource == "images"), key=lambda each: each.at)
    listed = {image_id for account in ACCOUNTS for image_id in getattr(now.get(("images", account)), "rows", ())}

    def state(image_id: str) -> str:
        seen = [each for each in images if image_id in each.rows]
        if not seen:
            return "never listed"
        after = [each for each in images if each.account == seen[-1].account and each.at > seen[-1].at]
        return "deleted" if any(each.certificate == "verified" for each in after) else "unseen"

    return {
        (account, each): (values["image_id"], state(values["image_id"]))
        for account in ACCOUNTS
        for each, values in getattr(now.get(("instances", account)), "rows", {}).items()
        if values["image_id"] is not None and values["image_id"] not in listed
    }


# ── the comparison ───────────────────────────────────────────────────────────

_USE = """
select account, image_id, use_status, instance_count, running_instance_count, other_account_instance_count,
    first_instance_id, oldest_use_utc, newest_use_utc, last_use_utc, unused_since_utc, unused_days
from image_use"""
_BY_DAY = """
select account, day_utc, image_id, use_status, instance_count, last_use_day_utc, unused_since_utc, unused_days,
    is_last_day
from image_use_by_day"""
_WITHOUT = "select account, instance_id, image_id, image_state from instances_without_image"
_CANDIDATES = "select image_id from cleanup_candidates(older_than_days := 0, keep_newest := 0)"


def compare(data: Path, seed: int, every: int = 1) -> Counter[str]:
    """Compare the views with the model at every n-th observation of a history. Returns: counts of what there was.

    Raises:
        AssertionError: they differ, or an image is called unused that an instance named.
    """
    listings = write_history(data, seed)
    counts: Counter[str] = Counter()
    instants = sorted({each.at for each in listings})
    for at in [*instants[:-1][seed % every :: every], instants[-1]]:
        known = [each for each in listings if each.at <= at]
        now = latest(known)
        with connect(data, as_of=at, keeps_versions=True) as con:  # a fifth of the time
            use = {row[:2]: row[2:] for row in con.execute(_USE).fetchall()}
            assert use == model_use(known), (seed, at)
            for (account, image_id), (status, *_) in use.items():
                counts[status] += 1
                if status == "unused":
                    truth = now["instances", account].truth.values()
                    assert image_id not in {each["image_id"] for each in truth}, (seed, at, image_id)
            named = {
                each["image_id"]
                for listing in now.values()
                if listing.resource == "instances"
                for each in listing.rows.values()
            }
            assert not named & {image_id for (image_id,) in con.execute(_CANDIDATES).fetchall()}, (seed, at)
            without = {row[:2]: row[2:] for row in con.execute(_WITHOUT).fetchall()}
            assert without == model_without_image(known), (seed, at)
            counts.update(state for _, state in without.values())
            if at == instants[-1]:
                by_day = {row[:3]: row[3:] for row in con.execute(_BY_DAY).fetchall()}
                assert by_day == model_by_day(known), (seed, at)
    return counts


def main() -> None:
    """Compare as many histories as asked for."""
    count, first = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    total: Counter[str] = Counter()
    for seed in range(first, first + count):
        with tempfile.TemporaryDirectory() as folder:
            total += compare(Path(folder), seed, every=12)  # by its seed, another one of twelve in each
    sys.stdout.write(f"{count} histories: {dict(total)}\n")


if __name__ == "__main__":
    main()
