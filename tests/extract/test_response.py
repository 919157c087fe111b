"""One answer of any resource: its envelope, its ids, those that are owned, and those that are young."""

from __future__ import annotations

import datetime as dt
import json

import pytest
from third_resource import PROBES

from pipeline.extract.attempt import Attempt
from pipeline.extract.response import NotAPage, contradiction, item_list, read_page
from pipeline.resources.instances import INSTANCES_RESOURCE
from pipeline.resources.tables import RESOURCES

AT = dt.datetime(2026, 11, 23, 2)  # noqa: DTZ001  (UTC without a zone, as everywhere)
EVERY = pytest.mark.parametrize(
    "resource", [*RESOURCES, INSTANCES_RESOURCE, PROBES], ids=lambda resource: resource.name
)


def body_of(resource, items, **envelope):
    for name in reversed(resource.action.items):
        items = {name: items}
    return json.dumps({"Code": 0, **items, **envelope}).encode()


def items_of(resource, *ids):
    return [{resource.key.api: name, "CreationTime": "2026-11-23T01:00:00Z"} for name in ids]


@EVERY
def test_an_answer_is_read_by_its_envelope(resource):
    items = items_of(resource, "a", "b", "c")
    if resource.owned:
        for item in items[:2]:
            item[resource.table.column(resource.owned[0]).api] = resource.owned[1].upper()
    own = ("a", "b") if resource.owned else ("a", "b", "c")

    page = read_page(
        body_of(resource, items, TotalCount=3, PageNumber="1", PageSize=20), resource=resource, server_at_utc=AT
    )

    assert (page.number, page.size, page.total, page.ids) == (1, 20, 3, ("a", "b", "c"))
    assert page.owned_ids == own
    assert page.young == tuple((name, AT - dt.timedelta(hours=1)) for name in own)
    assert contradiction(page, 1) is None


@EVERY
def test_a_page_without_a_size_has_that_of_the_request(resource):
    size = resource.action.page_size
    page = read_page(body_of(resource, items_of(resource, *map(str, range(size))), TotalCount=size), resource=resource)

    assert page.size_or_asked == size
    assert contradiction(page, 1) is None
    assert contradiction(read_page(body_of(resource, [], TotalCount=size), resource=resource), 1) == (
        f"it holds 0 {resource.noun}s where TotalCount {size} calls for {size}"
    )


@EVERY
@pytest.mark.parametrize("reading", [1, 2])
def test_an_item_without_an_id_is_counted_by_its_raw_json(resource, reading):
    items = [*items_of(resource, "a"), {"X": 1}, {resource.key.api: ""}, None]
    page = read_page(body_of(resource, items), reading, resource=resource)

    assert page.ids == ("a", 'raw JSON: {"X": 1}', f'raw JSON: {{"{resource.key.api}": ""}}', "raw JSON: null")


@EVERY
def test_a_key_that_stands_twice_is_no_page(resource):
    first = resource.action.items[0].encode()
    body = body_of(resource, items_of(resource, "a"))
    for twice in (body.replace(b'{"Code"', b'{"Code": 0, "Code"', 1), body[:-1] + b', "%b": null}' % first):
        with pytest.raises(NotAPage, match="stands twice"):
            read_page(twice, resource=resource)


@EVERY
def test_an_answer_without_a_list_is_null_and_one_of_another_resource_too(resource):
    other = next(each for each in (*RESOURCES, PROBES) if each is not resource)

    assert read_page(b'{"Code":0}', resource=resource).is_null
    assert read_page(body_of(other, items_of(other, "a")), resource=resource).is_null
    assert item_list(body_of(other, items_of(other, "a")), resource)[0] == b"[]"
    assert json.loads(item_list(body_of(resource, items_of(resource, "a")), resource)[0])[0][resource.key.api] == "a"


@EVERY
def test_a_listing_of_the_called_action_stays_as_it_came(resource):
    body = body_of(resource, [{resource.key.api: "a", "Note": f"Authorization: Signature={'0f' * 32}"}])
    name = resource.action.items[0]
    attempt = Attempt(AT, AT, 0.0, 200, None, body, None, None, list_name=name)
    refusal = Attempt(AT, AT, 0.0, 200, None, body.replace(name.encode(), b"Other"), None, None, list_name=name)

    assert attempt.body == body
    assert b"0f0f" not in refusal.body
