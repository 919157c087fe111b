"""Read one page: request it until it is free of contradictions, within bounds, and land every response."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

from pipeline.extract.call_error import one_line
from pipeline.extract.listing_pass import Doubt
from pipeline.extract.response import Answer, NotAPage, Page, read_page
from pipeline.log import about, logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.credentials import Account
    from pipeline.extract.attempt import Attempt
    from pipeline.extract.bounds import Bounds
    from pipeline.extract.client import EnsApi
    from pipeline.extract.listing_pass import Pass
    from pipeline.resources.resource import Resource

_log = logger(__name__)


class Land(Protocol):
    """Stores one answer with the bytes of its body. Called in the order in which answers arrive."""

    def __call__(self, answer: Answer, body: bytes | None) -> None:
        """Store it."""


class LandingFailed(Exception):
    """`land` raised. That ends the run, because it would fail for every account."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(cause)
        self.cause = cause


class PassBroken(Exception):
    """A page was unreadable in every response."""


class PageReader:
    """Reads pages of one account; appends every answer to `answers` and passes it to `land`."""

    def __init__(
        self,
        api: EnsApi,
        account: Account,
        resource: Resource,
        filters: Mapping[str, str],
        land: Land,
        bounds: Bounds,
        answers: list[Answer],
    ) -> None:
        self._api = api
        self._account = account
        self._resource = resource
        self._parameters = {**dict(resource.action.parameters), **filters}
        self._land = land
        self._bounds = bounds
        self._answers = answers
        self._attempt_counts: dict[tuple[int, int], int] = {}

    async def read(self, current: Pass, number: int) -> Page:
        """Request page `number` until there is no doubt about it, or the bounds are reached.

        Returns:
            The last response, with or without a doubt.

        Raises:
            PassBroken: the last response is not a page.
        """
        started = time.monotonic()
        request_count = 0
        while True:
            request_count += 1
            with about(**{"pass": current.number, "page": number}):
                page, doubt = await self._request(current, number)
                if doubt is not None:
                    _log.debug("not accepted yet: %s", doubt.reason)
            if doubt is None:
                break
            spent = time.monotonic() - started
            most = 2 if doubt.is_plausible else self._bounds.requests_per_page
            if request_count >= most or spent > current.repeat_seconds_left:
                current.repeat_seconds_left -= spent
                break
            await asyncio.sleep(self._bounds.pause_seconds * (1 if request_count == 1 else 10))
        if page is None:
            raise PassBroken
        return page

    async def _request(self, current: Pass, number: int) -> tuple[Page | None, Doubt | None]:
        """One call: the page, None if the response is none, and the doubt about it."""
        page: Page | None = None
        doubt: Doubt | None = None

        def on_attempt(attempt: Attempt) -> None:
            nonlocal page, doubt
            page, doubt = None, None
            if attempt.status == 200 and attempt.body is not None:
                try:
                    page = read_page(attempt.body, resource=self._resource, server_at_utc=attempt.server_at_utc)
                    doubt = current.doubt(number, page)
                except NotAPage as error:
                    doubt = Doubt(str(error), is_plausible=False)
            self._add(attempt, current.number, number, page, doubt)

        parameters = {"PageNumber": str(number), "PageSize": str(current.page_size), **self._parameters}
        await self._api.call(self._account, self._resource.action, parameters, on_attempt)
        return page, doubt

    def _add(
        self, attempt: Attempt, pass_number: int, page_number: int, page: Page | None, doubt: Doubt | None
    ) -> None:
        attempt_number = self._attempt_counts.get((pass_number, page_number), 0) + 1
        self._attempt_counts[pass_number, page_number] = attempt_number
        answer = Answer(
            account=self._account.label,
            pass_number=pass_number,
            page_number=page_number,
            attempt_number=attempt_number,
            request_id=attempt.request_id or (one_line(page.request_id) if page and page.request_id else None),
            status=attempt.status,
            sent_at_utc=attempt.sent_at_utc,
            received_at_utc=attempt.received_at_utc,
            waited_seconds=round(attempt.waited_seconds, 3),
            error_code=attempt.error_code,
            error=attempt.error or (doubt.reason if doubt else None),
            server_at_utc=attempt.server_at_utc,
            page=page,
            resource=self._resource.name,
        )
        self._answers.append(answer)
        try:
            self._land(answer, attempt.body)
        except Exception as cause:
            raise LandingFailed(cause) from cause
