"""The faults of the simulated service, by name: which state an answer shows, and what TotalCount counts.

They are the faults of `pipeline.emulator.state_faults`, at their own pace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulated_account import Fault, Service, View

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from simulated_account import Image


def _old(service: Service) -> tuple[Image, ...]:
    """Return an earlier state: by changes for an amount below 0, else by seconds."""
    if service.amount < 0:
        return service.account.changes_ago(int(-service.amount))
    return service.account.at(service.account.now - service.amount)


def _counted(count: Callable[[Service, Sequence[Image]], int]) -> Callable[[Service, int], View]:
    def view(service: Service, _: int) -> View:
        rows = service.account.images
        return View(rows, max(0, count(service, rows)))

    return view


def _cached(service: Service, rows: Sequence[Image]) -> int:
    return service.totals.setdefault(int(service.account.now // service.amount), len(rows))


def _replica(service: Service, _: int) -> View:
    rows = _old(service) if service.draw.random() < 0.5 else service.account.images
    return View(rows, len(rows))


def _lingering(service: Service) -> list[Image]:
    """Return the images with those that were deleted lately, at the place that they had."""
    now, old = service.account.images, _old(service)
    present = {image.id for image in now}
    rows = list(now)
    for place, image in enumerate(old):
        if image.id not in present:
            rows.insert(min(place, len(rows)), image)
    return rows


def _settled(service: Service) -> list[Image]:
    """Return the images without those that were created lately."""
    old = {image.id for image in _old(service)}
    return [image for image in service.account.images if image.id in old]


def _first_try(service: Service, number: int) -> View:
    rows = service.tries.pop(number, None)
    if rows is None:
        service.tries[number] = rows = service.account.images
    return View(rows, len(rows))


def _capped_list(service: Service, _: int) -> View:
    rows = service.account.images[: _cap(service)]
    return View(rows, len(rows))


def _cap(service: Service) -> int:
    """Return a count below the account's at the start."""
    return max(1, int(len(service.account.at(0.0)) - service.amount))


_CAPS = (1.0, 2.0, 4.0, 10.0, 50.0)
_BRIEF = (0.5, 1.5)
_LAGS = (0.5, 1.5, 10.0, -1.0, -3.0)
_SHARING = ("create", "delete", "share", "unshare")

FAULTS: dict[str, Fault] = {
    "none": Fault("Nothing is wrong."),
    "sharing": Fault("Shared images come and go.", events=_SHARING),
    "capped": Fault("TotalCount is capped, the pages go on.", _counted(lambda s, r: min(len(r), _cap(s))), _CAPS),
    "capped list": Fault("TotalCount and the pages are cut.", _capped_list, _CAPS, is_assumed_away=True),
    "page total": Fault(
        "TotalCount is that of the page.",
        lambda s, n: View(s.account.images, len(s.account.images[(n - 1) * s.page_size : n * s.page_size])),
    ),
    "low total": Fault("TotalCount is too low.", _counted(lambda s, r: len(r) - int(s.amount)), (1.0, 3.0)),
    "high total": Fault("TotalCount is too high.", _counted(lambda s, r: len(r) + int(s.amount)), (1.0, 3.0)),
    "owned total": Fault(
        "TotalCount leaves out shared images.", _counted(lambda _, r: sum(i.is_owned for i in r)), events=_SHARING
    ),
    "young total": Fault(
        "TotalCount leaves out images younger than some seconds.",
        _counted(lambda s, r: sum(i.appeared <= s.account.now - s.amount for i in r)),
        (1.0, 5.0, 3600.0),
    ),
    "cached total": Fault("TotalCount is cached for seconds.", _counted(_cached), (0.5, 5.0, 1e6)),
    "rows first": Fault(
        "Rows are read before a change, TotalCount after.", lambda s, _: View(s.before, len(s.account.images))
    ),
    "count first": Fault(
        "TotalCount is read before a change, rows after.", lambda s, _: View(s.account.images, len(s.before))
    ),
    "replicas 1.5 s": Fault("Every other answer is of a state 0.5 or 1.5 s old.", _replica, _BRIEF),
    "replicas 10 s": Fault("Every other answer is of a state 10 s old.", _replica, (10.0,), is_assumed_away=True),
    "replicas by changes": Fault(
        "Every other answer is of the state one or three changes ago.", _replica, (-1.0, -3.0), is_assumed_away=True
    ),
    "lingering rows": Fault(
        "Deleted images stay in the rows.", lambda s, _: View(_lingering(s), len(s.account.images)), _LAGS, True
    ),
    "lingering total": Fault(
        "Deleted images stay in TotalCount.", lambda s, _: View(s.account.images, len(_lingering(s))), _LAGS, True
    ),
    "lingering both": Fault(
        "Deleted images stay in rows and TotalCount.",
        lambda s, _: View(_lingering(s), len(_lingering(s))),
        _LAGS,
        is_assumed_away=True,
    ),
    "late rows": Fault(
        "New images come late into the rows.", lambda s, _: View(_settled(s), len(s.account.images)), _LAGS, True
    ),
    "late total": Fault(
        "New images come late into TotalCount.", lambda s, _: View(s.account.images, len(_settled(s))), _LAGS, True
    ),
    "created earlier": Fault("CreationTime is that of the request.", created_shift=-30.0),
    "created later": Fault("CreationTime is that of the end.", created_shift=30.0),
    "created copied": Fault("CreationTime is that of another image.", created_shift=None),
    "restored": Fault(
        "Deleted images come back with their ids.", events=("create", "delete", "restore"), is_assumed_away=True
    ),
    "shared again": Fault(
        "Images are no longer shared, and shared again, with their ids.",
        events=("create", "delete", "share again", "share again"),
        is_assumed_away=True,
    ),
    "first try": Fault("A second request of a page gets the first answer.", _first_try, is_assumed_away=True),
    "clock off": Fault("Date is off.", amounts=(-3600.0, -5.0, 5.0, 3600.0), clock=lambda s: s.account.now + s.amount),
    "clock steps": Fault(
        "Date steps by an hour.",
        amounts=(-3600.0, 3600.0),
        clock=lambda s: s.account.now + (s.amount if s.account.now > 0.8 else 0.0),
    ),
    "clock back": Fault("Date goes back at times.", clock=lambda s: s.account.now - s.draw.choice([0, 0, 3, 3600])),
    "clamped": Fault("PageSize is cut to 20, and echoed so.", page_size=20),
    "silently clamped": Fault("PageSize is cut to 20, 50 is echoed.", page_size=20, is_size_echoed=False),
}
