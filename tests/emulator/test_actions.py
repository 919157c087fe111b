"""Every action of the endpoint: pages, page size limit, filters; each fault works with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from signed_calls import SECRET, Got, call

from pipeline.emulator import FAULTS, Endpoint, living_account
from pipeline.emulator.actions import ACTIONS

if TYPE_CHECKING:
    from pipeline.emulator.action import Action

ACCOUNT = living_account(images=237)
NO_JSON = {"hang-up", "endless", "bad-gzip", "cut-gzip", "nested", "html", "html-502", "cut", "reset"}

every_action = pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS)


def call_action(endpoint: Endpoint, action: Action, **parameters: object) -> Got:
    return call(endpoint, {name: str(value) for name, value in parameters.items()}, x_acs_action=action.name)


def items_of(action: Action, got: Got) -> list[dict[str, Any]]:
    outer, inner = action.list_path
    return got.body[outer][inner]


@every_action
def test_the_pages_contain_every_item_once_in_listing_order(action):
    expected = action.list_items(ACCOUNT, 0)
    size = action.largest_page_size

    with Endpoint({"emulator": (SECRET, ACCOUNT)}) as endpoint:
        pages = [
            call_action(endpoint, action, PageNumber=number, PageSize=size + 1)
            for number in range(1, len(expected) // size + 2)
        ]

    assert [item for page in pages for item in items_of(action, page)] == expected
    assert {int(page.body["PageSize"]) for page in pages} == {size}
    assert {int(page.body["TotalCount"]) for page in pages} == {len(expected)}
    assert len({page.body["RequestId"] for page in pages}) == len(pages)


@every_action
def test_each_filter_returns_the_items_with_its_value(action):
    items = action.list_items(ACCOUNT, 0)

    with Endpoint({"emulator": (SECRET, ACCOUNT)}) as endpoint:
        for each in action.filters:
            value = next(item[each.name] for item in items if item.get(each.name))
            got = call_action(endpoint, action, **{each.name: value, "PageSize": action.largest_page_size})

            assert items_of(action, got)
            assert all(value in item[each.name] for item in items_of(action, got))


@every_action
@pytest.mark.parametrize("fault", sorted(FAULTS.keys() - NO_JSON))
def test_every_fault_works_with_the_action(action, fault):
    spec = {"drip": "drip:ms=1", "silent": "silent:ms=1", "gzip-bomb": "gzip-bomb:count=1"}.get(fault, fault)
    with Endpoint({"emulator": (SECRET, ACCOUNT)}, faults=[spec]) as endpoint:
        got = call_action(endpoint, action, PageNumber=2)

        assert endpoint.answers[0].faults == (fault,)
        assert got.body["RequestId"] == endpoint.answers[0].request_id
