"""Build a response stage by stage, with a fault's change applied after the correct result of its stage.

    edit    the account changes                 no correct result
    refuse  the request is refused              no correct result
    view    the state that is shown             DraftResponse.items, counted
    size    the page size changes               no correct result
    rows    the items of the page               DraftResponse.rows
    body    the envelope                        DraftResponse.body
    wire    the encoded bytes                   DraftResponse.raw

Without a hit the bytes are those of `AccountState.page`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from pipeline.emulator.action import ListResponse
from pipeline.emulator.api_errors import JSON

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from pipeline.emulator.account_state import AccountState
    from pipeline.emulator.action import Item, Query

Delivery = Literal["whole", "reset", "drip", "endless", "hang-up", "silent"]
Place = Literal["start", "end", "anywhere"]
Stage = Literal["edit", "refuse", "view", "size", "rows", "body", "wire"]
STAGES: tuple[Stage, ...] = ("edit", "refuse", "view", "size", "rows", "body", "wire")


class DraftResponse:
    """A response under construction: faults change its attributes."""

    def __init__(
        self, state: AccountState, query: Query, number: int, size: int, request_id: str, now: float = 0.0
    ) -> None:
        self.state = state
        self.first_version = state.journal.version
        """The version before the edits of this answer."""
        self.now = now
        """The server's clock, in seconds since 1970."""
        self.action = state.action
        self.number = number
        self.size = size
        self.echoed_size: int | None = None
        """The PageSize of the body; None: that of the page."""
        self.items: list[Item] = state.items
        """The items that are cut into pages."""
        self.counted: list[Item] = state.items
        """The items that TotalCount counts."""
        self.headers: dict[str, str] = {}
        self.rows: list[Item] = []
        self.body: dict[str, Any] = {}
        self.status = 200
        self.content_type = JSON
        self.raw = b""
        self.encoding: str | None = None  # of `raw`; None: it is packed as the request accepts
        self.delivery: Delivery = "whole"
        self.pieces = 1
        self.duration_ms = 0
        self._query = query
        self._request_id = request_id

    def matching_items(self) -> list[Item]:
        """Return all items that the request selects, in its order."""
        return self._matching(self.items)

    def _matching(self, items: list[Item]) -> list[Item]:
        return self._query.select(items, lambda item: item)

    def page(self, number: int) -> list[Item]:
        """Return copies of the items of a page, safe to change."""
        return self.slice_page(self.matching_items(), number)

    def slice_page(self, items: list[Item], number: int) -> list[Item]:
        """Return copies of the items that are on page `number` of `items`."""
        return [dict(item) for item in items[(number - 1) * self.size : number * self.size]]

    def set_list(self, items: Any) -> None:
        """Replace the list of items in the body."""
        outer, *inner = self.action.list_path
        self.body[outer] = {inner[0]: items} if inner else items

    def build(self, stage: Stage) -> None:
        """Build the correct result of a stage."""
        if stage == "view":
            self.items = self.counted = self.state.items
        elif stage == "rows":
            self.rows = self.page(self.number)
        elif stage == "body":
            total = len(self._matching(self.counted))
            size = self.size if self.echoed_size is None else self.echoed_size
            response = ListResponse(self.rows, self._request_id, self.number, size, total, self._query)
            self.body = self.action.build_envelope(response)
        elif stage == "wire":
            self.raw = msgspec.json.encode(self.body)


@dataclass(frozen=True)
class FaultHit:
    """One application of a fault to one response: its amount and its random generator."""

    name: str
    kind: FaultKind
    count: int
    ms: int | None
    place: Place
    rng: random.Random
    new_item: Callable[[float], Item]
    """Generate an item that is created at this time of the server's clock."""


@dataclass(frozen=True)
class FaultKind:
    """A fault of the catalog: description, stage, change, and the defaults of its options.

    With `is_burst` a hit is followed by hits on the next `count - 1` requests.
    """

    description: str
    stage: Stage
    apply: Callable[[DraftResponse, FaultHit], None]
    count: int = 1
    ms: int | None = None
    is_burst: bool = False


def render(draft: DraftResponse, hits: Sequence[FaultHit]) -> None:
    """Build the response in `draft`, and apply each hit after its stage is built.

    Raises:
        ApiError: a fault refuses the request.
    """
    for stage in STAGES:
        draft.build(stage)
        for hit in hits:
            if hit.kind.stage == stage:
                hit.kind.apply(draft, hit)
