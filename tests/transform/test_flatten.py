"""Pages become typed tables; a value that does not fit is null, and a row of `rejects`."""

import datetime as dt
import json
from typing import Any

import pyarrow as pa
import pytest
from conftest import page
from hypothesis import given
from hypothesis import strategies as st

from pipeline.extract.response import item_list
from pipeline.resources.control import REJECTS
from pipeline.resources.images import IMAGE_DISKS, IMAGES
from pipeline.transform.assemble import FlatTables, assemble, flatten
from pipeline.transform.parse import concatenate, parse_bodies, parse_lists
from pipeline.transform.parse_irregular import parse_irregular

AT = dt.datetime(2026, 11, 23, 2)  # noqa: DTZ001  (UTC without a zone, as everywhere)


def flat(*images: Any) -> FlatTables:
    return flatten([page(list(images))], "default", AT)


def image(**fields: Any) -> dict[str, Any]:
    return {"ImageId": "m-1", **fields}


def disks(*entries: Any) -> dict[str, Any]:
    return {"DiskDeviceMappings": {"DiskDeviceMapping": list(entries)}}


def only(table: pa.Table) -> dict[str, Any]:
    (row,) = table.to_pylist()
    return row


def test_the_published_example_is_flattened_value_for_value(example):
    flattened = flatten([example], "default", AT)

    assert only(flattened.items) == {
        "account": "default",
        "observed_at_utc": AT,
        "image_id": "centos_6_08_64_20G_a****",
        "image_name": "centos_6_08_64_20G_a****",
        "image_owner": "self",
        "status": "Creating",
        "platform": "centos",
        "os_version": "7.2",
        "architecture": "x86_64",
        "compute_type": "ens_vm",
        "region_id": "cn-wulanchabu",
        "image_size_gib": 20,
        "image_storage_size": 400,
        "created_at_utc": dt.datetime(2017, 12, 8, 12, 10, 3),  # noqa: DTZ001
        "instance_id": "i-5iqczfxps7csjrxeca****",
        "snapshot_id": "sp-5yt3bdedxzdz6t6uuw****",
        "extra": None,
        "disk_count": 1,
        "unsized_disk_count": 0,
        "disk_size_gib": 100,
    }
    assert only(flattened.children[0]) == {
        "account": "default",
        "observed_at_utc": AT,
        "image_id": "centos_6_08_64_20G_a****",
        "disk_number": 1,
        "disk_type": "Data",
        "disk_size_gib": 100,
        "disk_format": "Image format.\nraw\nqcow2",
        "disk_image_id": "i-test",
        "extra": None,
    }
    assert flattened.rejects.num_rows == 0


def test_empty_tables_have_their_declared_schemas():
    flattened = flat()

    assert (flattened.items.schema, flattened.children[0].schema, flattened.rejects.schema) == (
        IMAGES.arrow(),
        IMAGE_DISKS.arrow(),
        REJECTS.arrow(),
    )


def test_a_number_is_accepted_as_text_and_as_a_number():
    rows = flat(image(ImageSize="20"), {"ImageId": "m-2", "ImageSize": 20, "OsVersion": 7.20}).items.to_pylist()

    assert [row["image_size_gib"] for row in rows] == [20, 20]
    assert rows[1]["os_version"] == "7.2"


def test_a_timestamp_is_accepted_with_and_without_seconds():
    rows = flat(image(CreationTime="2017-12-08T12:10:03Z"), {"ImageId": "m-2", "CreationTime": "2017-12-08T12:10Z"})

    assert [f"{row['created_at_utc']:%F %T}" for row in rows.items.to_pylist()] == [
        "2017-12-08 12:10:03",
        "2017-12-08 12:10:00",
    ]


def test_an_unknown_field_goes_to_extra_as_it_was_sent():
    disks_and_more = b'"DiskDeviceMappings":{"DiskDeviceMapping":[{"Serial":"x"}],"N":1}'
    body = b'{"Images":{"Image":[{"ImageId":"m-1","Tags":[ {"K" : 1.50} ],' + disks_and_more + b"}]}}"
    flattened = flatten([body], "default", AT)

    assert only(flattened.items)["extra"] == '{"Tags":[ {"K" : 1.50} ],"DiskDeviceMappings":{"N":1}}'
    assert only(flattened.children[0])["extra"] == '{"Serial":"x"}'
    assert flattened.unknown_fields == {"Tags", "DiskDeviceMappings", "DiskDeviceMapping.Serial"}


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("ImageSize", "20GiB", "not a whole number"),
        ("ImageSize", "2.5", "not a whole number"),
        ("ImageSize", 2.5, "not a whole number"),
        ("ImageSize", "-1", "negative"),
        ("ImageSize", "9" * 30, "too large"),
        ("ImageSize", "0x14", "not a whole number"),
        ("ImageSize", " 20", "not a whole number"),
        ("ImageStorageSize", True, "neither text nor a number"),
        ("CreationTime", "yesterday", "not an instant such as 2017-12-08T12:10:03Z"),
        ("CreationTime", "2017-02-30T12:10:03Z", "not an instant such as 2017-12-08T12:10:03Z"),
        ("CreationTime", "0000-01-01T00:00:00Z", "not an instant such as 2017-12-08T12:10:03Z"),
        ("CreationTime", "2017-12-08T12:10:03+24:00", "not an instant such as 2017-12-08T12:10:03Z"),
        ("CreationTime", "0001-01-01T00:00:00Z", "before 2009"),
        ("CreationTime", "1970-01-01T08:00:00+08:00", "before 2009"),
        ("CreationTime", "2026-11-24T02:00:00Z", "a day or more after the observation"),
        ("CreationTime", "9999-12-31T23:59:59.9999999Z", "a day or more after the observation"),
        ("CreationTime", 1512735003, "not an instant such as 2017-12-08T12:10:03Z"),
        ("ImageName", {"a": 1}, "neither text nor a number"),
        ("DiskDeviceMappings", [], "not an object"),
    ],
)
def test_a_bad_value_is_null_and_rejected_and_affects_nothing_else(field, value, reason):
    flattened = flat(image(ImageSize="7"), {"ImageId": "m-2", "Status": "Available", field: value}, {"ImageId": "m-3"})

    assert [row["image_id"] for row in flattened.items.to_pylist()] == ["m-1", "m-2", "m-3"]
    assert flattened.items.to_pylist()[1]["status"] == "Available"
    column = next((c.name for c in IMAGES.columns if c.api == field), None)
    assert column is None or flattened.items.to_pylist()[1][column] is None
    reject = only(flattened.rejects)
    assert (reject["item_id"], reject["field"], reject["reason"]) == ("m-2", field, reason)
    assert json.loads(reject["raw_json"]) == value


def test_null_and_empty_text_are_missing_values():
    row = only(flat(image(ImageSize="", CreationTime=None, ImageName="")).items)

    assert (row["image_size_gib"], row["created_at_utc"], row["image_name"]) == (None, None, "")


def test_reading_version_1_accepts_every_year_and_no_offset():
    texts = ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2017-12-08T12:10:03+08:00", "2017-12-08T12:10:03.5Z")
    body = page([{"ImageId": text, "CreationTime": text} for text in texts])
    flattened = flatten([body], "default", AT, reading=1)

    assert [str(row["created_at_utc"]) for row in flattened.items.to_pylist()] == [
        "0001-01-01 00:00:00",
        "9999-12-31 23:59:59",
        "None",
        "None",
    ]
    assert flattened.rejects.column("item_id").to_pylist() == list(texts[2:])


@pytest.mark.parametrize("observed_at_utc", [dt.datetime.min, dt.datetime.max])  # noqa: DTZ901
def test_an_observation_at_either_end_of_the_calendar_has_images(observed_at_utc):
    flattened = flatten([page([image(CreationTime="2017-12-08T12:10:03Z")])], "default", observed_at_utc)

    assert (len(flattened.items), len(flattened.rejects)) == (1, observed_at_utc.year == 1)


def test_an_image_without_an_id_is_rejected_as_a_whole():
    nameless = {"ImageName": "b", "ImageSize": "x", **disks({"Size": "1"})}
    flattened = flat(image(), nameless, {"ImageId": "m-3"})

    assert flattened.items.column("image_id").to_pylist() == ["m-1", "m-3"]
    assert flattened.children[0].num_rows == 0
    assert json.loads(only(flattened.rejects)["raw_json"]) == nameless


def test_disks_keep_their_numbers_beside_bad_ones():
    flattened = flat(image(**disks({"Size": "1"}, None, {"Size": "x"}, {"Size": 4})))

    assert [(row["disk_number"], row["disk_size_gib"]) for row in flattened.children[0].to_pylist()] == [
        (1, 1),
        (2, None),
        (3, None),
        (4, 4),
    ]
    assert [row["field"] for row in flattened.rejects.to_pylist()] == [
        "DiskDeviceMapping[2]",
        "DiskDeviceMapping[3].Size",
    ]


def test_of_a_repeated_image_the_first_stays_with_its_disks():
    seen: set[str] = set()
    pages = [
        page([image(ImageName="first", **disks({"Size": "1"}))]),
        page([image(ImageName="second", **disks({"Size": "2"}))]),
    ]
    first, second = (flatten([body], "default", AT, seen=seen) for body in pages)

    assert [only(first.items)["image_name"], second.items.num_rows] == ["first", 0]
    assert [only(first.children[0])["disk_size_gib"], second.children[0].num_rows] == [1, 0]


# ── any account ──────────────────────────────────────────────────────────────

TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
SCALARS = (
    st.none()
    | TEXTS
    | st.integers(-3, 10**20)
    | st.sampled_from(["20", "", "2017-12-08T12:10:03Z", "2021-13-01T00:00Z"])
)
ODD = (
    SCALARS
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.lists(SCALARS, max_size=2)
    | st.dictionaries(TEXTS, SCALARS, max_size=2)
)
IMAGE_FIELDS = [column.api for column in IMAGES.columns if column.api and column.api != "ImageId"]


def an_image(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    disk = st.dictionaries(st.sampled_from(["Type", "Size", "Format", "imageId"]), values)
    listed = st.none() | st.fixed_dictionaries({"DiskDeviceMapping": st.none() | st.lists(disk, max_size=4)})
    fields = st.dictionaries(st.sampled_from(IMAGE_FIELDS), values)
    return st.builds(
        lambda name, values, mappings: {"ImageId": name, **values, "DiskDeviceMappings": mappings},
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=6),
        fields,
        listed,
    )


STRINGS = (
    st.none() | TEXTS | st.sampled_from(["20", "-1", "2017-12-08T12:10:03Z", "2017-12-08T12:10Z", "2021-13-01T00:00Z"])
)
PLAIN_PAGES = st.lists(st.lists(an_image(STRINGS), max_size=4).map(page), min_size=1, max_size=3)
ODD_PAGES = st.lists(st.lists(an_image(ODD) | ODD, max_size=4).map(page), min_size=1, max_size=3)


def tables(flat_tables: FlatTables) -> list[pa.Table]:
    return [flat_tables.items, flat_tables.children[0], flat_tables.rejects]


@given(PLAIN_PAGES)
def test_all_parsers_give_the_same_tables(pages):
    lists = [item_list(body) for body in pages]
    by_bodies = parse_bodies(pages)
    by_lists = parse_lists([raw for raw, _ in lists])
    irregular = concatenate([parse_irregular(*raw_and_placeholders) for raw_and_placeholders in lists])

    assert by_bodies is not None
    assert by_lists is not None
    expected = tables(flatten(pages, "default", AT))
    for texts in (by_bodies, by_lists, irregular):
        assert tables(assemble(texts, "default", AT)) == expected


@pytest.mark.parametrize("raw", [b'"a\xffb"', b'"a\xed\xa0\x80b"', rb'"a\ud800b"'])
def test_a_value_that_is_not_text_is_rejected_in_an_otherwise_regular_body(raw):
    plain = page([{"ImageId": "m-1", "ImageName": "?"}, {"ImageId": "m-2", "ImageName": "b"}])
    flattened = flatten([plain.replace(b'"?"', raw), page([{"ImageId": "m-3"}])], "default", AT)

    assert flattened.items.column("image_name").to_pylist() == [None, "b", None]
    assert flattened.rejects.column("field").to_pylist() == ["ImageName"]


@given(ODD_PAGES)
def test_pages_flattened_together_or_one_by_one_give_the_same(pages):
    together = flatten(pages, "default", AT)
    separate = [flatten([body], "default", AT) for body in pages]

    for index, table in enumerate(tables(together)):
        assert table == pa.concat_tables([tables(page_tables)[index] for page_tables in separate])


@given(st.lists(an_image(ODD), max_size=6))
def test_every_value_is_typed_or_rejected(images):
    flattened = flatten([page(images)], "default", AT)

    assert flattened.items.column("image_id").to_pylist() == [sent["ImageId"] for sent in images]
    assert len(flattened.rejects) == sum(map(misfits, images))
    for row, sent in zip(flattened.items.to_pylist(), images, strict=True):
        for column in IMAGES.columns:
            value = sent.get(column.api or "")
            if column.kind == "text" and isinstance(value, str):
                assert row[column.name] == value
            if column.kind in {"gib", "integer"} and is_whole(value, column.kind):
                assert row[column.name] == int(value)


def is_whole(value: Any, kind: str) -> bool:
    text = str(value)
    is_number = not isinstance(value, bool | list | dict) and text.isascii() and text.isdigit()
    return is_number and len(text) <= (12 if kind == "gib" else 18)


def misfits(sent: dict[str, Any]) -> int:
    """Number of values of an image that cannot be typed, counted without the code under test."""
    entries = (sent["DiskDeviceMappings"] or {}).get("DiskDeviceMapping") or []
    fields = [(IMAGES, sent)] + [(IMAGE_DISKS, entry) for entry in entries]
    return sum(
        not fits(column.kind, fields_of.get(column.api))
        for table, fields_of in fields
        for column in table.columns
        if column.api
    )


def fits(kind: str, value: Any) -> bool:
    if value is None or value == "":
        return True
    if isinstance(value, bool | list | dict):
        return False
    if kind == "text":
        return True
    return is_whole(value, kind) if kind in {"gib", "integer"} else value == "2017-12-08T12:10:03Z"
