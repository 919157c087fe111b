"""Decide which faults hit which responses.

    "empty:page=5,times=1"  →  Fault  →  FaultInjector  →  FaultHit, applied by `draft.render`

A fault hits one page or any, at random or always, for a number of times or without end. Randomness depends on
the fault's seed, the key, the page and its number of requests: concurrent requests do not change it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, get_args

import msgspec

from pipeline.emulator.actions import ACTIONS
from pipeline.emulator.draft import STAGES, FaultHit, Place
from pipeline.emulator.faults import FAULT_KINDS
from pipeline.emulator.rng import seeded_rng
from pipeline.text import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pipeline.emulator.action import Item

_EXPECTED: Final = {"p": "a probability from 0 to 1", "place": f"one of {', '.join(get_args(Place))}"}


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One fault and when it hits.

    `page`: hit only this page (default: any). `p`: hit with this probability (always). `times`: hit at most so
    often (without end). `after`: skip so many answers first. `key`, `action`: hit only this key, this API action (any).
    `seed`: seed of the randomness. `count`: the amount, `ms`: the duration, as the fault's description says. `place`:
    where in the listing items are deleted or inserted.

    Raises:
        ValueError: the name is unknown, or an option is out of range.
    """

    name: str
    page: int | None = None
    p: float | None = None
    times: int | None = None
    after: int = 0
    key: str | None = None
    action: str | None = None
    seed: int = 0
    count: int | None = None
    ms: int | None = None
    place: Place = "anywhere"

    def __post_init__(self) -> None:
        if self.name not in FAULT_KINDS:
            available = f"there are {', '.join(FAULT_KINDS)}"
            suggestion = _suggest(self.name, FAULT_KINDS)
            hint = f"{suggestion} {available}" if suggestion else available
            raise ValueError(f"no fault is called {self.name!r}: {hint}")
        if self.action is not None and self.action not in ACTIONS:
            hint = _suggest(self.action, ACTIONS) or f"there are {', '.join(ACTIONS)}"
            raise ValueError(f"fault {self.name!r}: no action is called {self.action!r}: {hint}")
        if self.p is not None and not 0 <= self.p <= 1:
            raise ValueError(f"fault {self.name!r}: p={self.p} is not a probability from 0 to 1")
        for option, minimum in (("page", 1), ("times", 1), ("after", 0), ("ms", 0)):
            value = getattr(self, option)
            if value is not None and value < minimum:
                raise ValueError(f"fault {self.name!r}: {option}={value} is below {minimum}")

    @classmethod
    def parse(cls, spec: str) -> Fault:
        """Parse `NAME[:option=value,…]`.

        Raises:
            ValueError: the text has another form, or a name or value is not valid.
        """
        name, _, rest = spec.partition(":")
        known = cls.__struct_fields__[1:]
        options = {}
        for part in filter(None, rest.split(",")):
            option, equals, value = part.partition("=")
            if option not in known or not equals:
                suggestion = "" if option in known else _suggest(option, known)
                problem = f"{part!r} is not option=value; the options are {', '.join(known)}"
                raise ValueError(
                    f"fault {spec!r}: {problem}; {suggestion}" if suggestion else f"fault {spec!r}: {problem}"
                )
            options[option] = value
        try:
            return msgspec.convert({"name": name, **options}, cls, strict=False)
        except msgspec.ValidationError as error:
            is_range_error = isinstance(error.__cause__, ValueError)  # from __post_init__: it names the fault
            raise ValueError(str(error) if is_range_error else f"fault {spec!r}: {_misfit(options)}") from None


def _misfit(options: Mapping[str, str]) -> str:
    """Describe the first option whose value is not of its type."""
    types = {field.name: field.type for field in msgspec.structs.fields(Fault)}
    for option, value in options.items():
        try:
            msgspec.convert(value, types[option], strict=False)
        except msgspec.ValidationError:
            return f"{option}={value} is not {_EXPECTED.get(option, 'a whole number')}"
    return "a value does not fit"


class FaultInjector:
    """The faults of one endpoint, with the counts of their hits."""

    def __init__(self, faults: Iterable[Fault | str]) -> None:
        self.faults = [Fault.parse(fault) if isinstance(fault, str) else fault for fault in faults]
        self._hits = [0] * len(self.faults)
        self._burst = [0] * len(self.faults)  # requests of the current burst still to hit
        self._requests = [0] * len(self.faults)
        self._page_requests: Counter[tuple[str, str, int]] = Counter()

    def select(self, key_id: str, action_name: str, page: int, new_item: Callable[[float], Item]) -> list[FaultHit]:
        """Count one request.

        Returns:
            The hits on its response, ordered by stage.
        """
        self._page_requests[key_id, action_name, page] += 1
        request_number = self._page_requests[key_id, action_name, page]
        concerned = [
            index
            for index, fault in enumerate(self.faults)
            if fault.key in (None, key_id) and fault.action in (None, action_name)
        ]
        found = [self._hit(index, key_id, page, request_number, new_item) for index in concerned]
        return sorted((hit for hit in found if hit), key=lambda hit: STAGES.index(hit.kind.stage))

    def _hit(
        self, index: int, key_id: str, page: int, request_number: int, new_item: Callable[[float], Item]
    ) -> FaultHit | None:
        fault = self.faults[index]
        kind = FAULT_KINDS[fault.name]
        self._requests[index] += 1
        rng = seeded_rng(fault.seed, fault.name, index, key_id, page, request_number)
        is_chosen = fault.p is None or rng.random() < fault.p
        count = kind.count if fault.count is None else fault.count
        if self._burst[index]:
            self._burst[index] -= 1
        elif (
            fault.page not in (None, page)
            or self._requests[index] <= fault.after
            or (fault.times is not None and self._hits[index] >= fault.times)
            or not is_chosen
        ):
            return None
        else:
            self._hits[index] += 1
            self._burst[index] = max(0, count - 1) if kind.is_burst else 0
        ms = kind.ms if fault.ms is None else fault.ms
        return FaultHit(fault.name, kind, count, ms, fault.place, rng, new_item)


def _suggest(name: str, known: Iterable[str]) -> str:
    suggestion = nearest(name, known)
    return f"did you mean {suggestion}?" if suggestion else ""
