"""The laws of a stored resource, for those of the package and a made-up one; run by `test_stored_laws.py`."""

from __future__ import annotations

import datetime as dt
import random
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import third_resource

third_resource.declare()

from pipeline import connect, rebuild  # noqa: E402  (after the declaration)
from pipeline.jobs.compaction import compact  # noqa: E402
from pipeline.jobs.withdrawal import restore, withdraw  # noqa: E402
from pipeline.lake.check import check  # noqa: E402
from pipeline.lake.compaction.manifest import newest_manifest  # noqa: E402
from pipeline.resources.tables import LAKE_TABLES, RESOURCES, ROW_TABLES, TABLES  # noqa: E402
from pipeline.views.catalog import latest_name  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Sequence

BEGIN = dt.datetime(2026, 10, 1, 2)  # noqa: DTZ001  (UTC without a zone, as everywhere)
AT = dt.datetime(2026, 11, 1)  # noqa: DTZ001
SHOWN = [*(table.name for table in TABLES if table.name != "raw_pages"), *map(latest_name, ROW_TABLES)]
Seen = dict[tuple[str, str], Any]


def shown(data: Path, as_of: Any = None, names: Sequence[str] = SHOWN) -> dict[str, Any]:
    """Every table and latest view, or those named."""
    left_out = {"observations": "exclude (committed_files)"}
    with connect(data, as_of=as_of) as con:
        return {
            name: con.execute(f"select * {left_out.get(name, '')} from {name} order by all").fetchall()  # noqa: S608
            for name in names
        }


def live(plain: Path, compacted: Path) -> list[Seen]:
    """Ten days of two accounts and every resource, compacted in between. Returns: what was seen on each day."""
    chance = random.Random(29)  # noqa: S311  (no secret)
    items: Seen = {(account, resource.name): {} for account in ("a", "b") for resource in RESOURCES}
    days = []
    for day in range(10):
        seen: Seen = {}
        for listed in items:
            resource = next(one for one in RESOURCES if one.name == listed[1])
            items[listed] = third_resource.change(resource, items[listed], chance)
            seen[listed] = None if chance.random() < 0.2 else items[listed]
            if day == 3 and resource is not RESOURCES[0]:
                del seen[listed]  # a run without the right to list it
        for data in (plain, compacted):
            third_resource.write_observations(data, BEGIN + dt.timedelta(days=day), seen)
        days.append(seen)
        if day in {4, 7}:
            compact(compacted)
    return days


def versions_of(days: list[Seen], account: str, resource: Any) -> set[tuple[str, dt.datetime, dt.datetime]]:
    """The id, first and last instant of each version, by a plain model."""
    found, begun, previous = set(), {}, {}
    at = last = None
    later = dt.timedelta(seconds=RESOURCES.index(resource))
    for day, seen in enumerate(days):
        items = seen.get((account, resource.name))
        if items is None:
            continue
        at = BEGIN + dt.timedelta(days=day) + later
        for key in [key for key in begun if items.get(key) != previous[key]]:
            found.add((key, begun.pop(key), last))
        begun |= {key: at for key in items if key not in begun}
        previous, last = items, at
    return found | {(key, first, last) for key, first in begun.items()}


def run_with(days: list[Seen], listed: tuple[str, str]) -> tuple[str, Seen]:
    """The first run after the first day that published items of `listed`: its id, and what was seen."""
    day = next(day for day, seen in enumerate(days) if day and seen.get(listed))
    return f"{BEGIN + dt.timedelta(days=day):%Y%m%dT%H%M%S}Z", days[day]


def require_intact(data: Path) -> None:
    """Assert that a check finds nothing."""
    assert [str(finding) for finding in check(data).findings] == []


def main(root: Path) -> None:
    """Assert the laws one after the other."""
    plain, compacted = root / "plain", root / "compacted"
    days = live(plain, compacted)

    # a compacted lake shows what a plain one shows, also as of any instant
    assert {one for group in newest_manifest(compacted).covered.values() for one in group} == set(days[0])
    before = shown(plain)
    assert shown(compacted) == before
    assert shown(compacted, "2026-10-06T02:00Z") == shown(plain, "2026-10-06T02:00Z")

    # the rows, the versions and the latest of each resource are those of a plain model
    with connect(compacted) as con:
        for resource in RESOURCES:
            key = resource.key.name
            for account in ("a", "b"):
                spans = con.execute(
                    f"select {key}, first_seen_utc, last_seen_utc from {resource.versions_name} where account = $1",  # noqa: S608
                    [account],
                ).fetchall()
                assert set(spans) == versions_of(days, account, resource)
                last = next(seen for day in reversed(days) if (seen := day.get((account, resource.name))) is not None)
                ids = con.execute(
                    f"select {key} from {latest_name(resource.table)} where account = $1 order by 1",  # noqa: S608
                    [account],
                ).fetchall()
                assert ids == [(one,) for one in sorted(last)]
    assert all(before[table.name] for table in LAKE_TABLES)

    # both are intact
    for data in (plain, compacted):
        require_intact(data)

    # one resource is withdrawn without the other, by its name; an account's name takes all of them
    made_up = RESOURCES[-1]
    few = ("observations", made_up.versions_name, latest_name(made_up.table), RESOURCES[0].versions_name, "rejects")
    before = {name: before[name] for name in few}
    run, seen_then = run_with(days, ("a", made_up.name))
    for data in (plain, compacted):
        withdraw(data, f"{run}/a/{made_up.name}", at=AT)
    assert shown(compacted, names=few) == shown(plain, names=few)
    with connect(plain) as con:
        left = con.execute(
            "select resource from observations where is_published and account = 'a' and run_id = $1", [run]
        ).fetchall()
    others = {(account, name): items for (account, name), items in seen_then.items() if name != made_up.name}
    assert sorted(left) == sorted((name,) for (account, name), items in others.items() if account == "a" and items)
    restore(compacted, f"{run}/a/{made_up.name}")
    assert shown(compacted, names=few) == before
    withdraw(compacted, f"{run}/a", at=AT)
    published = [row for row in shown(compacted, names=few)["observations"] if row[2] == run and row[5]]
    assert {row[0] for row in published} <= {"b"}
    restore(compacted, f"{run}/a")

    # an account of a run that did not list the made-up resource comes back as well
    withdraw(compacted, "20261004T020000Z/a", at=AT)
    restore(compacted, "20261004T020000Z/a")
    assert shown(compacted, names=few) == before
    restore(plain, f"{run}/a")

    # a compaction past the grace period takes a withdrawn resource away, and it alone
    for data in (plain, compacted):
        withdraw(data, f"{run}/a/{made_up.name}", grace="0d", at=AT)
    compact(compacted)
    after = shown(plain)
    assert shown(compacted) == after
    assert after[RESOURCES[0].versions_name] == before[RESOURCES[0].versions_name]
    assert len(after["rejects"]) == len(before["rejects"]) - 1

    # the daily files of a compacted run come back from the versions
    day = compacted / "lake"
    lost = [path for table in ROW_TABLES for path in (day / table.name).rglob("20261005T020000Z.parquet")]
    for path in lost:
        path.unlink()
    rebuild(compacted)
    assert all(path.is_file() for path in lost)
    assert shown(compacted) == after
    require_intact(compacted)
    shutil.rmtree(root)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    sys.stdout.write("held\n")
