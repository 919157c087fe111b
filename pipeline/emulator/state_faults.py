"""Faults of time: which state of the account an answer shows, what TotalCount counts, creation times, the clock.

    steady:ms=3000          every three seconds an item is deleted or created
    replica:ms=1500,p=0.5   every other answer shows the account 1.5 s ago
    replica:ms=0,count=2    every answer shows the account two changes ago

An entry in `STATE_FAULT_KINDS` is a fault as in `faults`. The answer's record keeps the true ids.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import formatdate
from typing import TYPE_CHECKING

from pipeline.emulator.api_errors import ApiError
from pipeline.emulator.draft import FaultKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.emulator.action import Action, Item
    from pipeline.emulator.draft import DraftResponse, FaultHit

OWNED, SHARED = "self", "others"
A_DAY_S = 86_400.0


# --- edit: the account changes while it is listed ---


def _change_steadily(draft: DraftResponse, hit: FaultHit) -> None:
    state, period = draft.state, (hit.ms or 1) / 1_000
    due = state.marks.setdefault(hit.name, draft.now)
    while due + period <= draft.now:
        due += period
        for _ in range(hit.count):
            if hit.rng.random() < 0.5 and state.items:
                state.delete(int(hit.rng.random() * len(state.items)), due)
            else:
                state.insert(0, hit.new_item(due), due)
    state.marks[hit.name] = due


def _share(draft: DraftResponse, hit: FaultHit) -> None:
    state, owner = draft.state, draft.action.owner_field
    if owner is None:
        return  # nothing is shared
    unshared: list[Item] = state.marks.setdefault(hit.name, [])
    for _ in range(hit.count):
        shared = [position for position, item in enumerate(state.items) if item.get(owner) == SHARED]
        if shared and hit.rng.random() < 0.5:
            unshared.append(state.delete(hit.rng.choice(shared), draft.now))
            continue
        if unshared and hit.rng.random() < 0.5:
            item = unshared.pop()
        else:
            item = hit.new_item(draft.now - A_DAY_S * hit.rng.random()) | {owner: SHARED}
        state.insert(int(hit.rng.random() * (len(state.items) + 1)), item, draft.now)


def _restore(draft: DraftResponse, hit: FaultHit) -> None:
    state = draft.state
    deleted: list[tuple[int, Item]] = state.marks.setdefault(hit.name, [])
    if not deleted:
        for _ in range(min(hit.count, len(state.items))):
            position = int(hit.rng.random() * len(state.items))
            deleted.append((position, state.delete(position, draft.now)))
        return
    while deleted:
        position, item = deleted.pop()
        state.insert(min(position, len(state.items)), item, draft.now)


# --- view: the answer shows another state of the account, in its rows, in TotalCount, or in both ---


def _old_items(draft: DraftResponse, hit: FaultHit) -> list[Item]:
    """Return the items `ms` milliseconds ago; with ms=0, `count` changes ago."""
    journal = draft.state.journal
    version = journal.version_at(draft.now - hit.ms / 1_000) if hit.ms else max(0, journal.version - hit.count)
    return draft.state.items_at(version)


def _answer_from_replica(draft: DraftResponse, hit: FaultHit) -> None:
    draft.items = draft.counted = _old_items(draft, hit)


def _count_earlier(draft: DraftResponse, _: FaultHit) -> None:
    draft.counted = draft.state.items_at(draft.first_version)


def _read_rows_earlier(draft: DraftResponse, _: FaultHit) -> None:
    draft.items = draft.state.items_at(draft.first_version)


def _cache_total(draft: DraftResponse, hit: FaultHit) -> None:
    period = (hit.ms or 1) / 1_000
    draft.counted = draft.state.items_at(draft.state.journal.version_at(draft.now // period * period))


def _with_deleted(draft: DraftResponse, hit: FaultHit) -> list[Item]:
    """Return the items, and those that were deleted lately at the place that they had."""
    items = list(draft.state.items)
    present = {draft.action.item_id(item) for item in items}
    for position, item in enumerate(_old_items(draft, hit)):
        if draft.action.item_id(item) not in present:
            items.insert(position, item)
    return items


def _without_inserted(draft: DraftResponse, hit: FaultHit) -> list[Item]:
    """Return the items without those that were inserted lately."""
    old = {draft.action.item_id(item) for item in _old_items(draft, hit)}
    return [item for item in draft.state.items if draft.action.item_id(item) in old]


def _show(items: Callable[[DraftResponse, FaultHit], list[Item]]) -> Callable[[DraftResponse, FaultHit], None]:
    def apply(draft: DraftResponse, hit: FaultHit) -> None:
        draft.items = items(draft, hit)

    return apply


def _count(items: Callable[[DraftResponse, FaultHit], list[Item]]) -> Callable[[DraftResponse, FaultHit], None]:
    def apply(draft: DraftResponse, hit: FaultHit) -> None:
        draft.counted = items(draft, hit)

    return apply


def _owned(draft: DraftResponse, _: FaultHit) -> list[Item]:
    owner = draft.action.owner_field
    return [item for item in draft.state.items if owner is None or item.get(owner) == OWNED]


def _not_young(draft: DraftResponse, hit: FaultHit) -> list[Item]:
    limit = draft.now - (hit.ms or 0) / 1_000
    return [item for item in draft.state.items if _created_s(draft.action, item) <= limit]


def _created_s(action: Action, item: Item) -> float:
    try:
        return datetime.fromisoformat(item[action.created_field]).timestamp()
    except (KeyError, TypeError, ValueError):
        return 0.0


def _cut_list(draft: DraftResponse, hit: FaultHit) -> None:
    draft.items = draft.counted = draft.matching_items()[: hit.count]


def _answer_first_try(draft: DraftResponse, hit: FaultHit) -> None:
    version = draft.state.marks.pop((hit.name, draft.number), None)
    if version is None:
        draft.state.marks[hit.name, draft.number] = draft.state.journal.version
        raise ApiError("ServiceUnavailable")
    draft.items = draft.counted = draft.state.items_at(version)


# --- size, rows, body, wire ---


def _clamp_silently(draft: DraftResponse, hit: FaultHit) -> None:
    draft.echoed_size = draft.size
    draft.size = min(draft.size, max(1, hit.count))


def _move_creation(sign: int) -> Callable[[DraftResponse, FaultHit], None]:
    def apply(draft: DraftResponse, hit: FaultHit) -> None:
        for item in _inserted_rows(draft):
            created_s = _created_s(draft.action, item) + sign * (hit.ms or 0) / 1_000
            item[draft.action.created_field] = f"{datetime.fromtimestamp(created_s, UTC):%Y-%m-%dT%H:%M:%SZ}"

    return apply


def _copy_creation(draft: DraftResponse, _: FaultHit) -> None:
    field = draft.action.created_field
    dated = (str(item[field]) for item in draft.state.items if field in item)
    if oldest := min(dated, default=""):
        for item in _inserted_rows(draft):
            item[field] = oldest


def _inserted_rows(draft: DraftResponse) -> list[Item]:
    return [item for item in draft.rows if draft.state.is_inserted(draft.action.item_id(item))]


def _count_page(draft: DraftResponse, _: FaultHit) -> None:
    draft.body["TotalCount"] = type(draft.body["TotalCount"])(len(draft.rows))


def _shift_date(draft: DraftResponse, hit: FaultHit) -> None:
    draft.headers["Date"] = formatdate(draft.now + hit.count, usegmt=True)


_AGO = "ms milliseconds ago; ms=0: count changes ago"

STATE_FAULT_KINDS = {
    "steady": FaultKind("Every ms milliseconds delete or create count items.", "edit", _change_steadily, ms=3_000),
    "sharing": FaultKind(
        "Share count items of another owner, or take them away; some come again with the same id.", "edit", _share
    ),
    "restored": FaultKind("Delete count items; at the next hit restore them, with the same ids.", "edit", _restore),
    "replica": FaultKind(f"The answer shows the account {_AGO}.", "view", _answer_from_replica, ms=2_000),
    "rows-first": FaultKind(
        "Rows are read before the changes that precede this answer, TotalCount after.", "view", _read_rows_earlier
    ),
    "count-first": FaultKind(
        "TotalCount is read before the changes that precede this answer, rows after.", "view", _count_earlier
    ),
    "cached-total": FaultKind("TotalCount is read every ms milliseconds only.", "view", _cache_total, ms=5_000),
    "lingering-rows": FaultKind(
        f"Rows show deleted items that were there {_AGO}.", "view", _show(_with_deleted), ms=2_000
    ),
    "lingering-total": FaultKind(
        f"TotalCount counts deleted items that were there {_AGO}.", "view", _count(_with_deleted), ms=2_000
    ),
    "late-rows": FaultKind(f"Rows lack items that were not there {_AGO}.", "view", _show(_without_inserted), ms=2_000),
    "late-total": FaultKind(
        f"TotalCount lacks items that were not there {_AGO}.", "view", _count(_without_inserted), ms=2_000
    ),
    "capped-total": FaultKind(
        "TotalCount is count at most; the pages go on.",
        "view",
        _count(lambda draft, hit: draft.matching_items()[: hit.count]),
        count=100,
    ),
    "cut-list": FaultKind("TotalCount and pages end at count items.", "view", _cut_list, count=100),
    "owned-total": FaultKind("TotalCount leaves out items of another owner.", "view", _count(_owned)),
    "young-total": FaultKind(
        "TotalCount leaves out items created less than ms milliseconds ago.", "view", _count(_not_young), ms=60_000
    ),
    "first-try": FaultKind(
        "Refuse the first request of a page (503); the next one gets the answer made for the first.",
        "view",
        _answer_first_try,
        count=2,
        is_burst=True,
    ),
    "silently-clamped": FaultKind(
        "Cut a PageSize above count to count, and echo the requested one.", "size", _clamp_silently, count=20
    ),
    "created-earlier": FaultKind(
        "Inserted items show a creation time ms milliseconds before they appear.", "rows", _move_creation(-1), ms=60_000
    ),
    "created-later": FaultKind(
        "Inserted items show a creation time ms milliseconds after they appear.", "rows", _move_creation(1), ms=60_000
    ),
    "created-copied": FaultKind("Inserted items show the creation time of the oldest item.", "rows", _copy_creation),
    "page-total": FaultKind("TotalCount is the number of items of the page.", "body", _count_page),
    "wrong-clock": FaultKind(
        "Date is count seconds off; with after=N it steps, with p=0.5 it goes back.", "wire", _shift_date, count=3_600
    ),
}
