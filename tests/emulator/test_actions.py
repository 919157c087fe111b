"""Every action of the endpoint: pages, page size limit, filters, order; each fault works with it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from signed_calls import SECRET, Got, call

from pipeline.emulator import FAULTS, Endpoint, living_account
from pipeline.emulator.action import Filter, Query, SortKey
from pipeline.emulator.actions import ACTIONS
from pipeline.emulator.api_errors import ApiError

if TYPE_CHECKING:
    from pipeline.emulator.action import Action

ACCOUNT = living_account(images=237, instances=237)
NO_JSON = {"hang-up", "endless", "bad-gzip", "cut-gzip", "nested", "html", "html-502", "cut", "reset"}

DESCRIBE_PROBES = replace(
    ACTIONS["DescribeInstances"],
    name="DescribeProbes",
    list_path=("Probes",),
    build_envelope=lambda response: {
        "Probes": response.items,
        "RequestId": response.request_id,
        "PageSize": response.page_size,
        "PageNumber": response.page_number,
        "TotalCount": response.total_count,
    },
)
"""An action that was made up: its list is not within an object."""

every_action = pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS)


def call_action(endpoint: Endpoint, action: Action, **parameters: object) -> Got:
    return call(endpoint, {name: str(value) for name, value in parameters.items()}, x_acs_action=action.name)


def items_of(action: Action, got: Got) -> list[dict[str, Any]]:
    found = got.body
    for name in action.list_path:
        found = found[name]
    return found


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
    with Endpoint({"emulator": (SECRET, ACCOUNT)}) as endpoint:
        for each in action.filters:
            value = next(text for item in action.list_items(ACCOUNT, 0) for text in each.texts(item))
            sent = json.dumps([value]) if each.is_list else value
            got = call_action(endpoint, action, **{each.name: sent, "PageSize": action.largest_page_size})

            having_it = [item for item in action.list_items(ACCOUNT, 0) if any(value in x for x in each.texts(item))]
            assert items_of(action, got)
            assert all(item in having_it for item in items_of(action, got))


@pytest.mark.parametrize("fault", sorted(FAULTS.keys() - NO_JSON))
@pytest.mark.parametrize("action", [*ACTIONS.values(), DESCRIBE_PROBES], ids=[*ACTIONS, "a list one level deep"])
def test_every_fault_works_with_the_action(action, fault, monkeypatch):
    monkeypatch.setitem(ACTIONS, action.name, action)
    spec = {"drip": "drip:ms=1", "silent": "silent:ms=1", "gzip-bomb": "gzip-bomb:count=1"}.get(fault, fault)
    with Endpoint({"emulator": (SECRET, ACCOUNT)}, faults=[spec]) as endpoint:
        got = call_action(endpoint, action, PageNumber=2)

        assert endpoint.answers[0].faults == (fault,)
        assert got.body["RequestId"] == endpoint.answers[0].request_id


def test_a_query_filters_by_parts_by_whole_values_by_nested_values_and_by_lists():
    items = [
        {"Id": "i-1", "Name": "web one", "Nets": {"Net": [{"Ip": "10.0.0.1"}, {"Ip": "10.0.0.2"}]}},
        {"Id": "i-2", "Name": "web", "Nets": None},
        {"Name": {"zh": "web"}},
    ]

    def found(action_filter: Filter, text: str) -> list[int]:
        query = Query(((action_filter, action_filter.read(text)),))
        return [items.index(item) for item in query.select(items, lambda item: item)]

    assert found(Filter("Name"), "web") == [0, 1]
    assert found(Filter("Name", is_exact=True), "web") == [1]
    assert found(Filter("Key", paths=("Name", "Nets.Net.Ip")), ".0.2") == [0]
    assert found(Filter("Ids", is_list=True, paths=("Id",)), '["i-2", "i-1", "i-9"]') == [0, 1]
    assert found(Filter("Ids", is_list=True, paths=("Id",)), "[]") == []


@pytest.mark.parametrize("text", ["i-1", '"i-1"', "[1]", "[", "[" + '"i",' * 100 + '"i"]'])
def test_a_list_is_a_json_array_of_at_most_a_hundred_texts(text):
    with pytest.raises(ApiError, match=r"InvalidParameter\.Ids"):
        Filter("Ids", is_list=True).read(text)


def test_a_query_sorts_by_several_keys_and_leaves_equal_items_in_listing_order():
    items = [
        {"Id": "a", "At": "2026-10-01T02:00:05Z"},
        {"Id": "b", "At": "2026-10-01T02:00Z"},
        {"Id": "c"},
        {"Id": "a", "At": "2026-10-01T02:00:00Z"},
    ]
    at, name = SortKey("AtSort", "At", is_instant=True), SortKey("IdSort", "Id")

    def order(*keys: tuple[SortKey, bool]) -> list[int]:
        return [items.index(item) for item in Query(order=keys).select(items, lambda item: item)]

    assert order((at, False)) == [2, 1, 3, 0]
    assert order((at, True)) == [0, 1, 3, 2]
    assert order((name, False), (at, True)) == [0, 3, 1, 2]
