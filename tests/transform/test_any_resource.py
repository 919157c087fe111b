"""Pages of any resource become typed tables: what images have not is told with a made-up one."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from third_resource import PROBES

from pipeline.extract.response import item_list
from pipeline.resources.instances import INSTANCES_RESOURCE
from pipeline.resources.tables import RESOURCES
from pipeline.transform import parse
from pipeline.transform.assemble import FlatTables, assemble, flatten
from pipeline.transform.parse import concatenate, parse_bodies, parse_lists
from pipeline.transform.parse_irregular import parse_irregular

AT = dt.datetime(2026, 11, 23, 2)  # noqa: DTZ001  (UTC without a zone, as everywhere)
EVERY = pytest.mark.parametrize(
    "resource", [*RESOURCES, INSTANCES_RESOURCE, PROBES], ids=lambda resource: resource.name
)


def page(resource, items) -> bytes:
    for name in reversed(resource.action.items):
        items = {name: items}
    return json.dumps({"Code": 0, **items, "TotalCount": "1", "PageNumber": "1", "PageSize": "50"}).encode()


def flat(*items: Any) -> FlatTables:
    return flatten([page(PROBES, list(items))], "default", AT, resource=PROBES)


def probe(**fields: Any) -> dict[str, Any]:
    return {"ProbeId": "s-1", **fields}


def parts(first: Any, *others: Any) -> dict[str, Any]:
    return {"FirstPart": first, "Parts": {"Part": list(others)}}


def only(rows):
    (row,) = rows.to_pylist()
    return row


def test_an_excluded_field_is_in_no_reject():
    secret = {"PublicIpAddress": {"IpAddress": ["192.0.2.1"]}, "KeyPairName": "k"}
    items = [
        {"InstanceName": "no id", **secret},
        {"InstanceId": "i-1", "SystemDisk": [{"EncryptKeyId": "key", "Size": 1}], **secret},
        {"InstanceId": "i-2", "DataDisk": {"DataDisk": ["x", [{"EncryptKeyId": "key"}]]}},
    ]
    rejects = flatten([page(INSTANCES_RESOURCE, items)], "default", AT, resource=INSTANCES_RESOURCE).rejects
    told = {(row["field"], row["raw_json"]) for row in rejects.to_pylist()}

    assert told == {
        ("InstanceId", '{"InstanceName":"no id"}'),
        ("SystemDisk", '[{"Size":1}]'),
        ("DataDisk[1]", '"x"'),
        ("DataDisk[2]", "[{}]"),
    }


def test_a_probe_is_flattened_value_for_value():
    flattened = flat(
        probe(
            ProbeName="daily",
            Size=20480,
            Cpu=4,
            CreationTime="2026-01-02T03:04Z",
            ExpiredTime="2027-01-01T00:00:00Z",
            Protected=True,
            Addresses={"PublicIpAddress": ["192.0.2.1"]},
            KeyPair="k",
            **parts(
                {"PartId": "p-1", "Size": 1024, "Encrypted": False, "device": "/dev/a"},
                {"PartId": "p-2", "Size": 3072, "Encrypted": True, "Address": {}},
                {"PartId": "p-3"},
            ),
        )
    )

    assert only(flattened.items) == {
        "account": "default",
        "observed_at_utc": AT,
        "probe_id": "s-1",
        "probe_name": "daily",
        "probe_size_gib": 20,
        "cpu_count": 4,
        "created_at_utc": dt.datetime(2026, 1, 2, 3, 4),  # noqa: DTZ001
        "expires_at_utc": dt.datetime(2027, 1, 1),  # noqa: DTZ001
        "is_kept": False,
        "is_protected": True,
        "extra": None,
        "part_count": 3,
        "unsized_part_count": 1,
        "parts_size_gib": 4,
    }
    columns = ("probe_id", "part_number", "part_kind", "part_id", "part_size_gib", "is_encrypted", "extra")
    assert [tuple(row[name] for name in columns) for row in flattened.children[0].to_pylist()] == [
        ("s-1", 1, "first", "p-1", 1, False, None),
        ("s-1", 2, "other", "p-2", 3, True, None),
        ("s-1", 3, "other", "p-3", None, None, None),
    ]
    assert (flattened.rejects.num_rows, flattened.unknown_fields) == (0, frozenset())


def test_excluded_fields_are_neither_columns_nor_extra_nor_unknown_and_others_are_kept():
    sent = probe(KeyPair={"a": [1]}, Addresses="x", New=1, **parts({"device": 1, "Serial": "s"}))
    flattened = flat(sent)

    assert only(flattened.items)["extra"] == '{"New":1}'
    assert only(flattened.children[0])["extra"] == '{"Serial":"s"}'
    assert flattened.unknown_fields == {"New", "FirstPart.Serial"}
    assert "KeyPair" not in str(flattened.items.to_pylist())


@pytest.mark.parametrize("year", [2099, 2119, 9999])
def test_an_instant_that_is_far_ahead_means_never(year):
    last, never, none = flat(
        probe(ExpiredTime="2098-12-31T23:59:59Z"),
        probe(ProbeId="s-2", ExpiredTime=f"{year}-01-01T00:00Z"),
        probe(ProbeId="s-3"),
    ).items.to_pylist()

    assert (f"{last['expires_at_utc']:%F}", last["is_kept"]) == ("2098-12-31", False)
    assert (never["expires_at_utc"], never["is_kept"]) == (None, True)
    assert (none["expires_at_utc"], none["is_kept"]) == (None, None)


@pytest.mark.parametrize(
    ("sent", "field", "reason", "raw"),
    [
        ({"Size": 1000}, "Size", "MiB that are no whole number of GiB", "1000"),
        ({"Size": "1000"}, "Size", "MiB that are no whole number of GiB", '"1000"'),
        ({"Size": -1024}, "Size", "negative", "-1024"),
        ({"Cpu": 1.5}, "Cpu", "not a whole number", "1.5"),
        ({"Protected": "yes"}, "Protected", "neither true nor false", '"yes"'),
        ({"Protected": 1}, "Protected", "neither true nor false", "1"),
        ({"Protected": []}, "Protected", "neither true nor false", "[]"),
        ({"Cpu": True}, "Cpu", "neither text nor a number", "true"),
        ({"ExpiredTime": "soon"}, "ExpiredTime", "not an instant such as 2017-12-08T12:10:03Z", '"soon"'),
        ({"FirstPart": []}, "FirstPart", "not an object", "[]"),
        ({"FirstPart": {"Size": 5}}, "FirstPart.Size", "MiB that are no whole number of GiB", "5"),
        (parts({}, {}, {"Size": 5}), "Part[2].Size", "MiB that are no whole number of GiB", "5"),
        (parts({}, {}, 7), "Part[2]", "not an object", "7"),
        ({"Parts": []}, "Parts", "not an object", "[]"),
        ({"Parts": {"Part": {}}}, "Parts.Part", "not a list", "{}"),
    ],
)
def test_a_value_that_does_not_fit_is_null_and_a_reject(sent, field, reason, raw):
    flattened = flat(probe(**sent), {"ProbeId": "s-2", "Size": 1024})
    reject = only(flattened.rejects)

    assert (reject["resource"], reject["item_id"]) == ("probes", "s-1")
    assert (reject["field"], reject["reason"], reject["raw_json"]) == (field, reason, raw)
    assert flattened.items.column("probe_size_gib").to_pylist() == [None, 1]
    assert flattened.items.column("part_count").to_pylist() == [len(flattened.children[0]), 0]


def test_an_item_without_an_id_is_a_reject_as_a_whole():
    flattened = flat(probe(), {"ProbeName": "x", **parts({"Size": 1024})})

    assert (len(flattened.items), len(flattened.children[0])) == (1, 0)
    assert only(flattened.rejects)["reason"] == "no id: the probe is left out"


def test_an_instance_names_its_image_and_has_its_disks_and_no_address():
    disk = {"Category": "pangu", "device_type": "pangu", "storage": 20480, "name": "d", "uuid": "d", "DiskName": "d"}
    sent = {
        "InstanceId": "i-1",
        "InstanceName": "web",
        "ImageId": "m-1",
        "Status": "Running",
        "Cpu": "4",
        "Memory": 8192,
        "Disk": 122880,
        "CreationTime": "2026-01-02T03:04:05Z",
        "ExpiredTime": "2119-07-13T02:38:57Z",
        "AutoReleaseTime": "",
        "DeletionProtection": False,
        "PublicIpAddress": {"IpAddress": ["203.0.113.9"]},
        "SystemDisk": {**disk, "DiskId": "d-1", "Size": 20480, "disk_type": "system"},
        "DataDisk": {"DataDisk": [{**disk, "DiskId": "d-2", "Size": 102400, "DiskSize": 100, "Encrypted": True}]},
    }
    flattened = flatten([page(INSTANCES_RESOURCE, [sent])], "default", AT, resource=INSTANCES_RESOURCE)
    row = only(flattened.items)

    assert {name: row[name] for name in ("image_id", "cpu_count", "memory_mb", "stated_disk_size_gib", "extra")} == {
        "image_id": "m-1", "cpu_count": 4, "memory_mb": 8192, "stated_disk_size_gib": 120, "extra": None,
    }  # fmt: skip
    assert (row["expires_at_utc"], row["is_pay_as_you_go"], row["auto_release_at_utc"]) == (None, True, None)
    assert (row["disk_count"], row["disk_size_gib"], row["is_deletion_protected"]) == (2, 120, False)
    assert [
        (one["disk_number"], one["disk_type"], one["disk_id"], one["disk_size_gib"], one["is_encrypted"])
        for one in flattened.children[0].to_pylist()
    ] == [(1, "system", "d-1", 20, None), (2, "data", "d-2", 100, True)]
    assert (flattened.rejects.num_rows, flattened.unknown_fields) == (0, frozenset())


# ── laws, for every resource ─────────────────────────────────────────────────

VALUES = {
    "text": st.none() | st.text(max_size=3),
    "number": st.none() | st.integers(-3, 4096) | st.sampled_from(["7", "1024", "x"]),
    "boolean": st.none() | st.booleans() | st.sampled_from(["true", "x"]),
}


@st.composite
def pages_of(draw, resource):
    """Pages of a resource: values that fit and that do not, child items, unknown and excluded fields."""

    def values(columns, excluded):
        known = {column.api: VALUES[column.sent] for column in columns if column.api}
        others = {name: st.sampled_from([1, None, {"a": [1]}]) for name in (*excluded, "New")}
        return st.fixed_dictionaries({}, optional=known | others)

    def items():
        item = draw(values(resource.columns, resource.excluded))
        for child in resource.children:
            for path in child.paths:
                one = values(child.columns, child.excluded)
                value = draw(st.none() | one if path.is_object else st.lists(one, max_size=3))
                for name in reversed(path.path[1:]):
                    value = {name: value}
                item[path.path[0]] = value
        return item

    ids = iter(range(1_000))
    counts = draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
    return [page(resource, [{**items(), resource.key.api: f"x-{next(ids)}"} for _ in range(n)]) for n in counts]


def tables(flattened):
    return {table.name: rows.to_pylist() for table, rows in flattened.by_table.items()}, flattened.unknown_fields


@EVERY
@given(data=st.data())
def test_all_parsers_give_the_same_tables(resource, data):
    pages = data.draw(pages_of(resource))
    lists = [item_list(body, resource) for body in pages]
    irregular = concatenate([parse_irregular(*each, resource=resource) for each in lists])
    expected = tables(assemble(irregular, "default", AT, resource=resource))
    raw_lists = [raw for raw, _ in lists]
    one_by_one = [tables(flatten([body], "default", AT, resource=resource)) for body in pages]

    assert tables(flatten(pages, "default", AT, resource=resource)) == expected
    for texts in (parse_bodies(pages, resource), parse_lists(raw_lists, resource)):
        assert texts is None or tables(assemble(texts, "default", AT, resource=resource)) == expected
    for table, rows in expected[0].items():
        assert rows == [row for found, _ in one_by_one for row in found[table]]


@EVERY
@given(data=st.data())
def test_every_child_item_is_of_its_item_and_counted_by_it(resource, data):
    flattened = flatten(data.draw(pages_of(resource)), "default", AT, resource=resource)

    for child, rows in zip(resource.children, flattened.children, strict=True):
        children = rows.to_pylist()
        for item in flattened.items.to_pylist():
            mine = [row for row in children if row[resource.key.name] == item[resource.key.name]]
            assert [row[child.number.name] for row in mine] == list(range(1, len(mine) + 1))
            for rollup in child.rollups:
                values = [row[rollup.of] for row in mine] if rollup.of else []
                known = [value for value in values if value is not None]
                expected = {"count": len(mine), "count_null": values.count(None), "sum": sum(known) if known else None}
                assert item[rollup.column.name] == expected[rollup.how]


@EVERY
def test_a_page_as_published_is_read_by_the_fast_parser(resource, monkeypatch):
    sent = {"text": "1024", "number": 1024, "boolean": True}

    def values(columns):
        return {column.api: sent[column.sent] for column in columns if column.api}

    item: dict[str, Any] = {resource.key.api: "x", **values(resource.columns)}
    for child in resource.children:
        for path in child.paths:
            value = values(child.columns)
            for n, name in enumerate(reversed(path.path)):
                value = {name: value if n or path.is_object else [value]}
            item |= value
    monkeypatch.setattr(parse, "parse_irregular", None)
    flattened = flatten([page(resource, [item])] * 2, "default", AT, resource=resource)

    assert len(flattened.items) == 2
    assert {reject["reason"] for reject in flattened.rejects.to_pylist()} <= {
        "not an instant such as 2017-12-08T12:10:03Z"
    }
