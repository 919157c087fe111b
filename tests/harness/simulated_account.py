"""An account and its service in simulated time, without sockets: what each answer shows, under one named fault.

    changes (by call, by time)  →  Account: the images at every instant   (the truth)
    fault                       →  Service.answers(pages): rows, TotalCount, CreationTime, Date

The emulator has the same faults over a real socket; here a schedule takes milliseconds.
"""

from __future__ import annotations

import bisect
import datetime as dt
import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from pipeline.extract.response import Page

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

DAY = dt.datetime(2026, 11, 23, 2)  # noqa: DTZ001  (UTC without a zone, as everywhere)
YOUNG_SECONDS = 172_800.0


class Image(NamedTuple):
    """An image: when it appeared in the listing, and the creation time that it shows."""

    id: str
    is_owned: bool
    appeared: float
    created: float


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; times in seconds since the schedule's start."""

    page_number: int
    page: Page
    sent: float
    made: float
    received: float
    server_at: dt.datetime
    young: dict[str, dt.datetime]


class Account:
    """The images in listing order, at every instant."""

    def __init__(self, draw: random.Random, count: int, *, is_newest_first: bool, created_shift: float | None) -> None:
        self.now = -1e6
        self.images: tuple[Image, ...] = ()
        self._draw = draw
        self._is_newest_first = is_newest_first
        self._created_shift = created_shift
        self._serial = 0
        self._times: list[float] = []
        self._versions: list[tuple[Image, ...]] = []
        self.deleted: list[tuple[int, Image]] = []
        first = [Image(self._next_id(), draw.random() < 0.93, -1e6, -1e6 + number) for number in range(count)]
        self._become(tuple(first[::-1] if is_newest_first else first))

    def _next_id(self) -> str:
        self._serial += 1
        return f"m-{self._serial}"

    def _become(self, images: tuple[Image, ...]) -> None:
        self.images = images
        self._times.append(self.now)
        self._versions.append(images)

    def create(self, *, is_owned: bool = True) -> None:
        """Create an image, or share one of another account, which may be old, anywhere in the list."""
        created = self.now
        if not is_owned:
            created -= self._draw.choice([0.0, 5.0, 1e6])
        elif self._created_shift is not None:
            created += self._created_shift
        elif self.images:
            created = self._draw.choice(self.images).created  # copied
        image = Image(self._next_id(), is_owned, self.now, created)
        place = 0 if self._is_newest_first else len(self.images)
        if not is_owned and self._draw.random() < 0.5:
            place = self._draw.randrange(len(self.images) + 1)
        self._become((*self.images[:place], image, *self.images[place:]))

    def delete(self, *, is_owned: bool | None = None) -> None:
        """Delete an image at random (un-share one, with `is_owned` false)."""
        places = [n for n, image in enumerate(self.images) if is_owned is None or image.is_owned == is_owned]
        if places:
            place = self._draw.choice(places)
            self.deleted.append((place, self.images[place]))
            self._become((*self.images[:place], *self.images[place + 1 :]))

    def restore(self, *, is_owned: bool | None = None) -> None:
        """Restore an image that was deleted, with the same id; delete one where there is none."""
        if not self.deleted or self._draw.random() < 0.4:
            self.delete(is_owned=is_owned)
            return
        place, image = self.deleted.pop(self._draw.randrange(len(self.deleted)))
        self._become((*self.images[:place], image, *self.images[place:]))

    def at(self, time: float) -> tuple[Image, ...]:
        """Return the images at an instant."""
        return self._versions[max(0, bisect.bisect_right(self._times, time) - 1)]

    def changes_ago(self, count: int) -> tuple[Image, ...]:
        """Return the images before the last `count` changes."""
        return self._versions[max(0, len(self._versions) - 1 - count)]

    def states_between(self, start: float, end: float) -> list[frozenset[str]]:
        """Return the sets of ids that the account had in this time."""
        first = max(0, bisect.bisect_right(self._times, start) - 1)
        last = bisect.bisect_right(self._times, end)
        return [frozenset(image.id for image in images) for images in self._versions[first:last]]


class View(NamedTuple):
    """What an answer is made of: the list that is cut into pages, and the list that is counted."""

    rows: Sequence[Image]
    counted: int


@dataclass(frozen=True)
class Fault:
    """A named fault of the service; `view` makes an answer of the account as it is and as it was."""

    meaning: str
    view: Callable[[Service, int], View] | None = None
    amounts: tuple[float, ...] = (0.0,)
    is_assumed_away: bool = False
    """Whether DESIGN's assumptions exclude it."""
    created_shift: float | None = 0.0
    """Seconds from an image's appearance to the creation time that it shows; None: copied from another image."""
    events: tuple[str, ...] = ("create", "delete")
    clock: Callable[[Service], float] = lambda service: service.account.now
    page_size: int = 50
    is_size_echoed: bool = True


@dataclass
class Activity:
    """How often the account changes."""

    by_call: float = 0.0
    """Probability of each kind of change before an answer."""
    is_compensated: bool = False
    """Before each answer one image is created and one deleted."""
    seconds: float | None = None
    """Mean time between two changes."""


@dataclass
class Service:
    """Answers the pages of one account; concurrent requests are answered in any order."""

    account: Account
    fault: Fault
    amount: float
    activity: Activity
    draw: random.Random
    page_size: int = 50
    log: list[Answer] = field(default_factory=list)
    totals: dict[int, int] = field(default_factory=dict)
    """TotalCounts that the service keeps, by time."""
    tries: dict[int, tuple[Image, ...]] = field(default_factory=dict)
    before: tuple[Image, ...] = ()
    """The account before the changes that precede this answer."""
    _next_change: float = float("inf")

    def __post_init__(self) -> None:
        self.account.now = 0.0
        self._plan()

    def _plan(self) -> None:
        if self.activity.seconds:
            self._next_change = self.account.now + self.draw.expovariate(1 / self.activity.seconds)

    def answers(self, pages: Sequence[int], *, wait: float = 0.0, workers: int = 1) -> list[Answer]:
        """Ask these pages, `workers` at a time. Returns: the answers as they arrive."""
        free = [self.account.now + wait] * workers
        heapq.heapify(free)
        calls = []
        for number in pages:
            sent = heapq.heappop(free) + 0.01
            latency = self.draw.choice([0.05, 0.1, 0.3])
            made = sent + latency * self.draw.uniform(0.2, 0.8)
            calls.append((made, sent, sent + latency, number))
            heapq.heappush(free, sent + latency)
        calls.sort()
        found = [self._answer(*call) for call in calls]
        self._pass_time(max(call[2] for call in calls))
        found.sort(key=lambda answer: answer.received)
        self.log += found
        return found

    def _pass_time(self, until: float) -> None:
        while self._next_change <= until:
            self.account.now = self._next_change
            self._change()
            self._plan()
        self.account.now = max(self.account.now, until)

    def _change(self) -> None:
        event = self.draw.choice(self.fault.events)
        {
            "create": self.account.create,
            "delete": self.account.delete,
            "share": lambda: self.account.create(is_owned=False),
            "unshare": lambda: self.account.delete(is_owned=False),
            "restore": self.account.restore,
            "share again": lambda: self.account.restore(is_owned=False),
        }[event]()

    def _answer(self, made: float, sent: float, received: float, number: int) -> Answer:
        self._pass_time(made)
        self.before = self.account.images
        if self.activity.is_compensated:
            self.account.create()
            self.account.delete()
        for _ in range(len(self.fault.events)):
            if self.draw.random() < self.activity.by_call:
                self._change()
        now = self.account.images
        rows, counted = self.fault.view(self, number) if self.fault.view else View(now, len(now))
        size = min(self.page_size, self.fault.page_size)
        shown = rows[(number - 1) * size : number * size]
        echoed = size if self.fault.is_size_echoed else self.page_size
        clock = self.fault.clock(self)
        young = {
            image.id: at(image.created) for image in shown if image.is_owned and image.created > clock - YOUNG_SECONDS
        }
        page = Page(number, echoed, counted, tuple(image.id for image in shown), False, None)
        return Answer(number, page, sent, made, received, at(clock), young)


def at(seconds: float) -> dt.datetime:
    """Return this time as the service writes it."""
    return DAY + dt.timedelta(seconds=seconds // 1)
