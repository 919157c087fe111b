"""A model test: random histories of a lake, followed by a model in plain Python; every answer must be equal.

    python tests/harness/model.py --steps 2000 --seed 1        histories of 50 steps, each of a lake of its own
    python tests/harness/model.py --steps 50 --seed 17         one history again, such as one that failed

    step      run (good, failed, refused, early, late, twice), withdraw, restore, prune, compact, rebuild, damage, clock
    model     what the endpoint served at that instant, and what was withdrawn since             lake_model.py
    answers   every table and view of history, by `connect()`, as of an instant, and by `lake.duckdb`;
              status, exit codes, raw files, `check`

Two accounts of a few images, so that a step is short. A history is a function of its seed.
"""

from __future__ import annotations

import argparse
import datetime as dt
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import duckdb
from damage import advised, empty, files_of, flip, halve, remove, typed
from lake_model import CHEAP, QUERIES, Item, Key, Model, Rows, Try, answers, in_order, run_name

from pipeline import connect, rebuild, run
from pipeline.credentials import key_account
from pipeline.emulator import Endpoint
from pipeline.emulator import Key as Secret
from pipeline.errors import EnsImagesError, LakeMissing
from pipeline.jobs.compaction import compact
from pipeline.jobs.retention import prune
from pipeline.jobs.status import runs_ahead, status
from pipeline.jobs.withdrawal import restore, withdraw
from pipeline.lake.check import check
from pipeline.lake.verification import DAMAGED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

LENGTH: Final = 50
"""Steps of one history."""
ACCOUNTS: Final = ("prod", "test")
WEIGHTS: Final = {
    "run": 40, "withdraw": 12, "restore": 10, "damage": 10, "compact": 6, "prune": 8, "rebuild": 4, "rebuild_into": 3,
    "as_of": 8, "freshness": 6, "clock": 3, "check": 4,
}  # fmt: skip
MOST_IMAGES: Final = 8
COSTLY: Final = [name for name in QUERIES if name not in CHEAP]
"""Some of these are compared every few steps, all of them at the end of a history."""
MAX_AGE: Final = dt.timedelta(hours=26)


class Different(Exception):
    """The lake and the model disagree."""


class ServedAccount:
    """An account that the history edits; the endpoint asks for it anew on each day."""

    def __init__(self, name: str, draw: random.Random) -> None:
        self.items: list[Item] = []
        self._name = name
        self._draw = draw
        self._serial = 0
        self._deleted: list[Item] = []

    def images_on(self, day: int) -> list[Item]:  # noqa: ARG002  (a day is an edit)
        """Return all images."""
        return list(self.items)

    def new_image(self, serial: int, day: int) -> Item:
        """Generate an image for a fault; none is used here."""
        raise NotImplementedError

    def edit(self) -> None:
        """Create, delete, bring back or change some images."""
        for _ in range(self._draw.choice((0, 0, 1, 1, 2, 4))):
            kind = self._draw.choice(("create", "create", "delete", "back", "change", "change", "change", "nameless"))
            if kind == "create" and len(self.items) < MOST_IMAGES:
                self.items.insert(0, self._image())
            elif kind == "delete" and self.items:
                self._deleted.append(self.items.pop(self._draw.randrange(len(self.items))))
            elif kind == "back" and self._deleted and len(self.items) < MOST_IMAGES:
                self.items.append(self._deleted.pop())
            elif kind == "change" and self.items:
                place = self._draw.randrange(len(self.items))
                self.items[place] = self._changed(self.items[place])
        self.items = [item for item in self.items if item["ImageId"]]
        if self.items and self._draw.random() < 0.08:
            self.items.append({"ImageId": "", "ImageName": "no id"})
        if self._draw.random() < 0.04:
            self._deleted += [item for item in self.items if item["ImageId"]]
            self.items = []

    def _image(self) -> Item:
        self._serial += 1
        item: Item = {
            "ImageId": f"m-{self._name}{self._serial:04}",
            "ImageName": self._draw.choice(("web", "db", "边缘节点", f"image {self._serial}")),
            "ImageOwnerAlias": self._draw.choice(("self", "self", "self", "others", "market")),
            "Status": "Available",
            "RegionId": self._draw.choice(("cn-wulanchabu", "cn-hangzhou")),
            "CreationTime": f"2019-0{self._draw.randint(1, 9)}-11T0{self._draw.randint(0, 9)}:20:30Z",
            "ImageSize": str(self._draw.choice((20, 40, 60))),
        }
        if self._draw.random() < 0.7:
            disks = [self._disk() for _ in range(self._draw.randint(0, 3))]
            item["DiskDeviceMappings"] = {"DiskDeviceMapping": disks}
        return item

    def _disk(self) -> Item:
        return {"Type": "Data", "Size": str(self._draw.choice((20, 40, "?"))), "Format": "raw", "imageId": "m-disk"}

    def _changed(self, item: Item) -> Item:
        kind = self._draw.choice(("name", "status", "size", "no size", "bad size", "unknown", "disks"))
        changed = dict(item)
        if kind == "name":
            changed["ImageName"] = self._draw.choice(("web", "db", "renamed"))
        elif kind == "status":
            changed["Status"] = self._draw.choice(("Available", "Unavailable"))
        elif kind in {"size", "bad size"}:
            changed["ImageSize"] = "twenty" if kind == "bad size" else str(self._draw.choice((20, 40, 60, 80)))
        elif kind == "no size":
            changed.pop("ImageSize", None)
        elif kind == "unknown":
            changed["BootMode"] = self._draw.choice(("UEFI", "BIOS"))
        else:
            changed["DiskDeviceMappings"] = self._draw.choice((None, {"DiskDeviceMapping": [self._disk()]}))
        return changed


@dataclass(slots=True)
class Withdrawn:
    """What is known of a withdrawal."""

    until: dt.datetime
    may_be_gone: bool = False
    """Whether a job ran after its grace period: then a restore may refuse."""
    is_lost: bool = False
    """Whether files of it were lost to damage."""


@dataclass
class History:
    """A lake, the endpoint that it is filled from, and the model of it."""

    seed: int
    data: Path
    endpoint: Endpoint
    served: dict[str, ServedAccount]
    draw: random.Random
    now: dt.datetime
    model: Model = field(default_factory=Model)
    withdrawn: dict[Key, Withdrawn] = field(default_factory=dict)
    raw: set[str] = field(default_factory=set)
    """Runs whose raw pages are there."""
    expired: dict[str, dt.datetime] = field(default_factory=dict)
    """Runs whose raw pages have expired, and the end of their grace period."""
    in_versions: set[Key] = field(default_factory=set)
    """Observations that the versions hold for certain."""
    lines: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    # ── steps ────────────────────────────────────────────────────────────────

    def step(self, number: int) -> None:
        """Take a random step, and compare."""
        self.now += dt.timedelta(minutes=self.draw.randint(20, 1800))
        kind = self.draw.choices(list(WEIGHTS), list(WEIGHTS.values()))[0] if self.model.tries else "run"
        self.counts[kind] += 1
        self.note(f"{number}: {kind} at {self.now}")
        getattr(self, kind)()
        if number % 3 == 0 or kind in {"damage", "restore", "rebuild"}:
            self.compare([*CHEAP, *self.draw.sample(COSTLY, 3)])
            self.compare_files()
        else:
            self.compare(CHEAP)

    def note(self, line: str) -> None:
        """Add a line to the history."""
        self.lines.append(line)

    def run(self) -> None:
        """Run over one account or both; perhaps one fails, or was observed at that instant before."""
        labels = self.draw.choice((ACCOUNTS, ACCOUNTS, ACCOUNTS, ("prod",), ("test",)))
        at = self.now
        chance = self.draw.random()
        if chance < 0.08:
            at += dt.timedelta(hours=self.draw.randint(-9000, 9000))
        elif chance < 0.18:
            at = self.draw.choice([one.at or at for one in self.model.tries.values()] or [at])
        tries, expected, options = self.prepare(labels, at)
        again = [one for one in self.model.published() if one.account in labels and one.at == at]
        code, result = self.do(lambda: run(self.data, **options))
        if again:
            self.expect(code, {2})
            return
        for one in tries if not options["accept_shrink"] else ():
            expected = max(expected, self.guard(one))
        self.expect(code, {expected})
        self.add(tries, (result.run if isinstance(result, EnsImagesError) else result).run_id)
        self.time_passes(real_clock(), is_maintenance=False)

    def prepare(self, labels: Iterable[str], at: dt.datetime) -> tuple[list[Try], int, dict[str, Any]]:
        """Edit the accounts, and choose the options of a run. Returns: the tries, the exit code, the options."""
        self.endpoint.day += 1
        level = self.draw.choice(("verified", "verified", "counted"))
        refused = self.draw.choice(ACCOUNTS) if self.draw.random() < 0.15 else None
        is_out_of_time = self.draw.random() < 0.03
        tries, code = [], 0
        for label in labels:
            self.served[label].edit()
            one = Try("", label, at.date())
            tries.append(one)
            is_nameless = any(not item["ImageId"] for item in self.served[label].items)
            if is_out_of_time or label == refused:
                one.error = "OutOfTime" if is_out_of_time else "Refused"
                code = max(code, 5 if is_out_of_time else 4)
                continue
            one.at, one.certificate = at, "counted" if is_nameless else "verified"
            if is_nameless and level == "verified":
                one.error, code = "IncompleteListing", max(code, 3)
            else:
                one.take(self.served[label].items)
        options = {
            "accounts": [key_account(label, label, "wrong" if label == refused else "secret") for label in labels],
            "endpoint": "http://127.0.0.1:9" if is_out_of_time else self.endpoint.url,
            "timeout_seconds": 0.2 if is_out_of_time else None,
            "rate": None,
            "certificate": level,
            "resources": ["images"],
            "accept_shrink": self.draw.random() < 0.5,
            "observed_at": at,
        }
        words = [f"{one.account} {len(one.images)} {one.error or one.certificate}" for one in tries]
        self.note(f"   at {at}, {level}, shrink accepted: {options['accept_shrink']}: {', '.join(words)}")
        return tries, code, options

    def guard(self, one: Try) -> int:
        """Refuse a try that lost all images of its account. Returns: its exit code."""
        latest = self.model.latest().get(one.account)
        if one.error is None and latest and latest.images and not (one.images or one.rejects):
            one.error, one.images = "AccountShrank", {}
            return 3
        return 0

    def add(self, tries: Iterable[Try], run_id: str) -> None:
        """Add the tries of a run to the model."""
        if any(key[0] == run_id for key in self.model.tries):
            raise Different(f"two runs are called {run_id}")
        for one in tries:
            named = replace(one, run_id=run_id)
            self.model.tries[named.key] = named
        self.raw.add(run_id)

    def withdraw(self) -> None:
        """Withdraw a published observation or a failed try; sometimes what is withdrawn or unknown."""
        key = self.draw.choice(list(self.model.tries))
        if self.draw.random() < 0.05:
            key = (run_name(self.now), "prod")
        grace = self.draw.choice((dt.timedelta(days=7), dt.timedelta(days=7), dt.timedelta(days=1), dt.timedelta()))
        one = self.model.tries.get(key)
        is_possible = one is not None and not one.is_withdrawn
        self.note(f"   {'/'.join(key)}, grace {grace}")
        code, _ = self.do(lambda: withdraw(self.data, "/".join(key), grace=grace, at=self.now))
        self.expect(code, {0 if is_possible else 2})
        if one and is_possible:
            one.is_withdrawn = True
            self.withdrawn[key] = Withdrawn(self.now + grace)
            self.time_passes(self.now)

    def restore(self) -> None:
        """Undo a withdrawal: within its grace period it succeeds; after it, it succeeds whole or refuses."""
        key = self.draw.choice(list(self.withdrawn) or [(run_name(self.now), "prod")])
        self.note(f"   {'/'.join(key)}")
        code, _ = self.do(lambda: restore(self.data, "/".join(key), at=self.now))
        record = self.withdrawn.get(key)
        if record is None:
            self.expect(code, {2})
            return
        one = self.model.tries[key]
        if one.error is None and any(o.at == one.at for o in self.model.published(one.account)):
            self.expect(code, {2, 6} if record.is_lost else {2})
        elif one.error is None and (record.may_be_gone or record.is_lost or record.until <= self.now):
            self.expect(code, {0, 2, 6} if record.is_lost else {0, 2})
        else:
            self.expect(code, {0})
        if code == 0:
            one.is_withdrawn = False
            del self.withdrawn[key]
            self.time_passes(self.now)

    def compact(self) -> None:
        """Compact, and delete what is past its grace period."""
        self.expect(self.do(lambda: compact(self.data, at=self.now))[0], {0})
        self.time_passes(self.now)
        instants = Counter((one.account, one.at) for one in self.model.tries.values())
        published = self.model.published()
        self.in_versions |= {one.key for one in published if instants[one.account, one.at] == 1}

    def prune(self) -> None:
        """Let raw pages expire by age, perhaps none; a dry run changes nothing."""
        age = self.draw.choice((None, dt.timedelta(days=2), dt.timedelta(days=10)))
        grace = self.draw.choice((dt.timedelta(days=7), dt.timedelta()))
        is_dry = self.draw.random() < 0.2
        self.note(f"   raw pages older than {age}, grace {grace}{', dry' if is_dry else ''}")
        code, result = self.do(lambda: prune(self.data, raw_older_than=age, grace=grace, dry_run=is_dry, at=self.now))
        self.expect(code, {0})
        old: set[str] = set()
        if age is not None:
            limit = (self.now - age).date()
            old = {one.run_id for one in self.model.tries.values() if one.observed_on < limit}
            old = old & self.raw - self.needed() - self.expired.keys()
        found = {path.stem for path in result.expired_raw}
        if found != old:
            raise Different(f"raw pages of {sorted(found)} expire, not of {sorted(old)}")
        if not is_dry:
            self.time_passes(self.now, dict.fromkeys(old, self.now + grace))

    def rebuild(self) -> None:
        """Rebuild an intact lake: nothing changes, but for files that a job deleted while another clock kept them."""
        code, result = self.do(lambda: rebuild(self.data))
        self.expect(code, {0})
        clock = real_clock()
        lacking = {key[0] for key, record in self.withdrawn.items() if record.may_be_gone and record.until > clock}
        if not lacking.issuperset(result):
            raise Different(f"a rebuild of an intact lake published {result}")
        self.time_passes(real_clock(), is_maintenance=False)

    def rebuild_into(self) -> None:
        """Build a new lake: it has what the raw pages hold, without what was withdrawn."""
        target = self.data.with_name("new")
        runs = self.raw - self.expired.keys()
        code, _ = self.do(lambda: rebuild(self.data, into=target))
        self.expect(code, {0 if runs else 6})
        if runs:
            part = Model({key: one for key, one in self.model.tries.items() if one.run_id in runs})
            self.compare(QUERIES, part, target, "the new lake")
            self.refuse_findings(target)
            shutil.rmtree(target)

    def as_of(self) -> None:
        """Read the lake as of an instant."""
        instants = [one.at or self.now for one in self.model.tries.values()]
        at = self.draw.choice(instants) + self.draw.choice((dt.timedelta(), dt.timedelta(seconds=-1)))
        then = self.model.as_of(at)
        self.note(f"   as of {at}")
        code, con = self.do(lambda: connect(self.data, as_of=at))
        self.expect(code, {0 if then.published() else 2})
        if code == 0:
            with closing(con):
                self.compare_with(con, answers(then), f"as of {at}")

    def freshness(self) -> None:
        """Compare the status, and the runs of a wrong clock."""
        rows, error = status(self.data, max_age=MAX_AGE, now=self.now)
        expected = self.model.status(self.now, MAX_AGE)
        found = {row[0]: (row[1], row[rows.columns.index("failed_try_count")]) for row in rows.rows}
        if found != expected or (error is not None) != any(state != "ok" for state, _ in expected.values()):
            raise Different(f"status: {found} and {error!r}, not {expected}")
        ahead = runs_ahead(self.data, now=self.now)
        names = self.model.ahead(self.now)
        if len(ahead) != len(names) or not all(any(f" {name} " in line for line in ahead) for name in names):
            raise Different(f"runs ahead of the clock: {ahead}, not {sorted(names)}")

    def clock(self) -> None:
        """Set the clock forward, or back."""
        self.now += dt.timedelta(days=self.draw.choice((-40, -8, -2, 3, 9, 30)))

    def check(self) -> None:
        """Check an intact lake, perhaps whole."""
        self.refuse_findings(self.data, deep=self.draw.random() < 0.2)

    # ── damage ───────────────────────────────────────────────────────────────

    def damage(self) -> None:
        """Damage a file; read, perhaps run; do what `check` advises; from there on, all is as before."""
        path = self.draw.choice(files_of(self.data))
        how = self.draw.choice((flip, empty, halve, remove))
        is_raw = path.parents[1] == self.data / "raw"
        self.note(f"   {how.__name__} {path.relative_to(self.data)}")
        how(path, random.Random(self.draw.random()))  # noqa: S311  (of its own: a size may differ from time to time)
        was_refused = self.read_damaged()
        pending: list[tuple[str, list[Try], bool]] = []
        for _ in range(self.draw.choice((0, 0, 1, 2))):
            self.run_damaged(pending)
        usable = self.raw - {path.stem} if is_raw else self.raw
        was_found = self.heal(path.stem, usable)
        if was_refused and not was_found:
            raise Different("a reader refused, and check found nothing")
        if is_raw:
            self.raw.discard(path.stem)
            path.unlink(missing_ok=True)  # of expired pages; all others are moved aside
        if path.is_relative_to(self.data / "lake") and path.parent.name[:11] in {
            "image_versi",
            "compacted_o",
            "compacted_r",
            "manifests",
        }:
            self.in_versions.clear()
        for run_id, tries, is_accepted in sorted(pending, key=lambda one: one[0]):
            for one in tries if not is_accepted else ():
                self.guard(one)
            self.add(tries, run_id)
        self.refuse_findings(self.data)

    def read_damaged(self) -> bool:
        """Compare whatever a reader of the damaged lake answers. Returns: whether it refused, with exit code 6."""
        code, con = self.do(lambda: connect(self.data))
        self.expect(code, {0, 6})
        if code == 6:
            return True
        with closing(con):
            con.execute("set threads = 1")
            for name, rows in answers(self.model).items():
                try:
                    found = con.execute(QUERIES[name]).fetchall()
                except duckdb.Error as error:
                    if DAMAGED not in str(error):
                        raise
                else:
                    self.compare_rows(name, found, rows, "with the damage")
        return False

    def run_damaged(self, pending: list[tuple[str, list[Try], bool]]) -> None:
        """Run on a damaged lake: it publishes what it should, or ends with 6; what it landed is published later."""
        self.now += dt.timedelta(hours=1)
        tries, expected, options = self.prepare(ACCOUNTS, self.now)
        before = raw_runs(self.data)
        code, result = self.do(lambda: run(self.data, **options))
        if code == 6:
            pending += [(run_id, tries, options["accept_shrink"]) for run_id in raw_runs(self.data) - before]
            return
        for one in tries if not options["accept_shrink"] else ():
            expected = max(expected, self.guard(one))
        self.expect(code, {expected})
        self.add(tries, (result.run if isinstance(result, EnsImagesError) else result).run_id)

    def heal(self, damaged_run: str, usable: set[str]) -> bool:
        """Type what `check` advises, until it finds nothing. Returns: whether it found anything."""
        for attempt in range(3):
            try:
                findings = [str(finding) for finding in check(self.data).findings]
            except LakeMissing as error:  # the commit record of its only run is lost
                findings = [str(error)]
            for finding in findings:
                self.note(f"      {finding}")
            if not findings:
                return attempt > 0
            for command in advised(findings, self.data):
                code, told = typed(command)
                self.note(f"      {command} → {code}")
                _, verb, name, *_ = command.split()
                if verb == "withdraw" and code == 0:
                    self.accept_loss(name, damaged_run, usable)
                elif code != 0:
                    raise Different(f"{command}: {told}")
        raise Different("check finds the same again, after all that it advises")

    def accept_loss(self, name: str, damaged_run: str, usable: set[str]) -> None:
        """Follow the withdrawal of what nothing brings back, by its account or as a whole."""
        run_id, _, account = name.partition("/")
        tries = [one for one in self.model.tries.values() if one.run_id == run_id and account in {"", one.account}]
        is_in_versions = all(one.key in self.in_versions for one in tries if one.error is None)
        if run_id != damaged_run or run_id in usable or (account and is_in_versions):
            raise Different(f"{name} is given up, though it can be mended")
        is_moved = (self.data / "lake" / ".damaged" / run_id).exists()
        for one in tries:
            if is_moved:
                del self.model.tries[one.key]
                self.withdrawn.pop(one.key, None)
            else:
                one.is_withdrawn = True
                self.withdrawn[one.key] = Withdrawn(real_clock(), is_lost=True)

    # ── what follows from time ───────────────────────────────────────────────

    def needed(self) -> set[str]:
        """Return the runs whose raw pages may not expire."""
        can_come_back = {key[0] for key, record in self.withdrawn.items() if record.until > self.now}
        return {one.run_id for one in self.model.latest().values()} | can_come_back

    def time_passes(
        self, now: dt.datetime, expiring: dict[str, dt.datetime] | None = None, *, is_maintenance: bool = True
    ) -> None:
        """Follow what a job at `now` deletes: raw pages, and what was withdrawn, past their grace period."""
        for key, record in self.withdrawn.items():
            if record.until <= now:
                record.may_be_gone = True
                self.in_versions.discard(key)
        if is_maintenance:
            needed = self.needed()
            self.expired = {run: until for run, until in self.expired.items() if run not in needed & self.raw}
            self.expired |= expiring or {}
            self.raw -= {run for run, until in self.expired.items() if until <= now}

    # ── comparisons ──────────────────────────────────────────────────────────

    def do(self, call: Callable[[], Any]) -> tuple[int, Any]:
        """Do something. Returns: the exit code of the command, and the result or error."""
        try:
            result = call()
        except EnsImagesError as error:
            code = error.exit_code if error.run is None else error.run.exit_code
            self.note(f"   → {code} {type(error).__name__}: {str(error).splitlines()[0][:200]}")
            return code, error
        self.note("   → 0")
        return 0, result

    def expect(self, code: int, expected: set[int]) -> None:
        """Raise unless the exit code is one of these."""
        if code not in expected:
            raise Different(f"exit code {code}, not {expected}")

    def compare(
        self, names: Iterable[str], model: Model | None = None, data: Path | None = None, where: str = ""
    ) -> None:
        """Compare the answers of a lake, by default this one, with those of a model."""
        right = answers(model or self.model, names)
        with closing(connect(data or self.data)) as con:
            self.compare_with(con, right, where)
        if data is None and len(right) > len(CHEAP):
            with closing(duckdb.connect(str(self.data / "lake.duckdb"), read_only=True)) as con:
                self.compare_with(con, right, "lake.duckdb")

    def compare_with(self, con: duckdb.DuckDBPyConnection, right: dict[str, Rows], where: str) -> None:
        """Compare the answers of a connection."""
        con.execute("set threads = 1")  # a few rows
        for name, rows in right.items():
            self.compare_rows(name, con.execute(QUERIES[name]).fetchall(), rows, where)

    def compare_rows(self, name: str, found: Rows, right: Rows, where: str) -> None:
        """Compare the rows of one view."""
        self.counts["answers"] += 1
        if (rows := in_order(found)) != right:
            more = [row for row in rows if row not in right][:3]
            fewer = [row for row in right if row not in rows][:3]
            raise Different(
                f"{name} {where}: {len(rows)} rows, not {len(right)}\n   has     {more}\n   has not {fewer}"
            )

    def compare_files(self) -> None:
        """Compare the raw files."""
        if (found := raw_runs(self.data)) != self.raw:
            raise Different(f"raw files: more {sorted(found - self.raw)}, fewer {sorted(self.raw - found)}")

    def refuse_findings(self, data: Path, *, deep: bool = False) -> None:
        """Raise where `check` finds anything in an intact lake."""
        if findings := check(data, deep=deep).findings:
            raise Different("check of an intact lake: " + "; ".join(map(str, findings)))


def raw_runs(data: Path) -> set[str]:
    """List the runs whose raw file is there."""
    return {path.stem for path in (data / "raw").glob("observed_on=*/*.parquet")}


def real_clock() -> dt.datetime:
    """Return the clock of those jobs that take no other."""
    return dt.datetime.now(dt.UTC).replace(tzinfo=None)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one history went."""

    seed: int
    steps: int
    counts: Counter[str]
    difference: str
    """Empty where there is none; else what differs, and the history up to there."""


def live(seed: int, steps: int) -> Outcome:
    """Live through one history."""
    draw = random.Random(seed)  # noqa: S311
    served = {name: ServedAccount(name, draw) for name in ACCOUNTS}
    # Jobs without a clock of their own, such as a run's compaction, are at work before every grace period, or after it.
    start = dt.datetime(draw.choice((2090, 2090, 2090, 2020)), 1, 30, 2)  # noqa: DTZ001
    with (
        tempfile.TemporaryDirectory() as folder,
        Endpoint({n: Secret("secret", served[n]) for n in served}) as endpoint,
    ):
        history = History(seed, Path(folder, "data"), endpoint, served, draw, start)
        for number in range(1, steps + 1):
            try:
                history.step(number)
                if number == steps:
                    history.compare(QUERIES)
                    history.refuse_findings(history.data, deep=True)
            except Exception as error:  # noqa: BLE001  (whatever a user would meet as a traceback)
                told = str(error) if isinstance(error, Different) else traceback.format_exc()
                return Outcome(seed, number, history.counts, "\n".join((*history.lines, told)))
    return Outcome(seed, steps, history.counts, "")


def main() -> None:
    """Live through as many histories as the steps need, in two processes, and print those that differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    began = time.monotonic()
    lengths = [min(LENGTH, given.steps - start) for start in range(0, given.steps, LENGTH)]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        seeds = range(given.seed, given.seed + len(lengths))
        jobs = [pool.submit(live, seed, length) for seed, length in zip(seeds, lengths, strict=True)]
        for number, job in enumerate(as_completed(jobs), start=1):
            done = job.result()
            how = "different" if done.difference else "equal"
            passed = time.monotonic() - began
            sys.stderr.write(
                f"history {number} of {len(jobs)}: seed {done.seed}, {done.steps} steps, {how}; {passed:,.0f} s\n"
            )
        outcomes = [job.result() for job in jobs]
    counts = sum((outcome.counts for outcome in outcomes), start=Counter[str]())
    different = [outcome for outcome in outcomes if outcome.difference]
    for outcome in different:
        sys.stdout.write(
            f"seed {outcome.seed}: different at step {outcome.steps}:\n{outcome.difference}\n"
            f"again: python tests/harness/model.py --steps {outcome.steps} --seed {outcome.seed}\n\n"
        )
    kinds = ", ".join(f"{counts[kind]:,} {kind}" for kind in WEIGHTS)
    sys.stdout.write(
        f"{sum(outcome.steps for outcome in outcomes):,} steps in {len(outcomes):,} histories ({kinds}), "
        f"{counts['answers']:,} answers compared, {len(different):,} histories differ, "
        f"{time.monotonic() - began:.0f} seconds\n"
    )
    sys.exit(bool(different))


if __name__ == "__main__":
    main()
