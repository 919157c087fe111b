"""Any input: typed, or null with a row of `rejects`, or an error that names the page.

Never a crash, never a lost neighbour, never a wrong value. `make fuzz` tries many thousand inputs, this a few hundred.
"""

from __future__ import annotations

import datetime as dt
import io
import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from conftest import page
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lake_builder import disk_sums

from pipeline import connect
from pipeline.extract.raw_pages import RawPagesWriter
from pipeline.extract.response import Answer, NotAPage, read_page
from pipeline.jobs.rebuild import rebuild
from pipeline.lake.publish import publish, read_answers
from pipeline.reports.formats import write_rows
from pipeline.reports.provenance import provenance_line
from pipeline.reports.query import query
from pipeline.resources.control import OBSERVATIONS
from pipeline.resources.images import IMAGE_DISKS, IMAGES
from pipeline.resources.tables import tables_of
from pipeline.transform.assemble import FlatTables, flatten
from pipeline.views.database import write_catalog

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.resources.schema import Table

AT = dt.datetime(2026, 11, 23, 2)  # noqa: DTZ001  (UTC without a zone, as everywhere)
RUN = f"{AT:%Y%m%dT%H%M%S.%fZ}"
DEEP = "deeper than anyone can follow"
"""Replaced in a generated page by a value nested too deep; no other text contains it."""
TOO_DEEP = "[" * 12_000 + "]" * 12_000  # Python 3.13 follows 10,000


def body(*images: str, total: int | None = None, around: str = "") -> bytes:
    """An answer that holds these images, as raw JSON."""
    count = len(images) if total is None else total
    text = '{"Code":0,"Images":{"Image":[' + ",".join(images) + f']}},"PageSize":"50","TotalCount":"{count}"{around}}}'
    return text.encode("utf-8", "surrogatepass")


def flat(*bodies: bytes) -> FlatTables:
    for raw in bodies:
        read_page(raw)
    return flatten(bodies, "default", AT)


def beside(raw: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The row of an image with `raw` among its fields, and the rejects; its neighbours must be intact."""
    neighbour = '{"ImageId":"%s","ImageSize":"7","DiskDeviceMappings":{"DiskDeviceMapping":[{"Size":"1"}]}}'
    flattened = flat(body(neighbour % "m-1", '{"ImageId":"m-2","Status":"Available",' + raw + "}", neighbour % "m-3"))
    before, row, after = flattened.items.to_pylist()
    assert (before["image_id"], before["image_size_gib"], after["image_id"], after["image_size_gib"]) == (
        "m-1",
        7,
        "m-3",
        7,
    )
    assert {"m-1", "m-3"} <= set(flattened.children[0].column("image_id").to_pylist())
    assert (row["image_id"], row["status"]) == ("m-2", "Available")
    return row, flattened.rejects.to_pylist()


# ── one by one ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("raw", "reason", "kept"),
    [
        (r'"a\ud800b"', "half a surrogate pair", None),
        (r'"\udfff"', "half a surrogate pair", None),
        (r'"\ude00\ud83d"', "half a surrogate pair", None),
        (r'"\\\uD800"', "half a surrogate pair", None),
        ('"a\udcffb"', "not UTF-8", r'"a\\xffb"'),
        (TOO_DEEP, "nested too deep", None),
    ],
)
@pytest.mark.parametrize("name", ["ImageName", "ImageSize", "CreationTime", "Unknown", "DiskDeviceMappings"])
def test_an_undecodable_value_is_rejected_alone(raw, reason, kept, name):
    sent = f'"{name}":{raw}'.encode("utf-8", "surrogateescape")
    page_of = body('{"ImageId":"m-1","ImageSize":"7"}', '{"ImageId":"m-2",@}', '{"ImageId":"m-3","ImageSize":"7"}')
    flattened = flat(page_of.replace(b"@", sent))

    assert [row["image_id"] for row in flattened.items.to_pylist()] == ["m-1", "m-2", "m-3"]
    assert flattened.items.column("image_size_gib").to_pylist()[::2] == [7, 7]
    (reject,) = flattened.rejects.to_pylist()
    assert (reject["item_id"], reject["field"], reject["raw_json"]) == ("m-2", name, kept or raw)
    assert reject["reason"] == reason or name == "DiskDeviceMappings"
    assert flattened.items.column("extra").to_pylist()[1] == ('{"Unknown":null}' if name == "Unknown" else None)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (r'"\\ud800"', r"\ud800"),
        (r'"\ud83d\ude00"', "😀"),
        (r'"\\\\ud800\u005cud800"', r"\\ud800\ud800"),
        ('"\\u0000"', "\0"),
    ],
)
def test_an_escaped_backslash_before_a_surrogate_is_text(raw, text):
    for beside_it in ("", r',"Other":"\udc00"'):
        row, rejects = beside(f'"ImageName":{raw}{beside_it}')

        assert row["image_name"] == text
        assert len(rejects) == bool(beside_it)


def test_an_undecodable_field_name_affects_only_that_name():
    flattened = flat(body(r'{"\ud800":"x","ImageId":"m-1","ImageName":"a"}'))

    (row,) = flattened.items.to_pylist()
    assert (row["image_id"], row["image_name"], row["extra"]) == ("m-1", "a", '{"\ufffd":"x"}')
    assert flattened.unknown_fields == {"\ufffd"}


def test_an_image_with_an_undecodable_id_is_rejected_and_counted():
    raw = r'{"ImageId":"\ud800","ImageName":"a"}'
    sent = body('{"ImageId":"m-1"}', raw)

    assert read_page(sent).ids == ("m-1", f"raw JSON: {raw}")
    flattened = flat(sent)
    assert flattened.items.column("image_id").to_pylist() == ["m-1"]
    assert flattened.rejects.column("raw_json").to_pylist() == [raw]


def test_undecodable_values_beside_the_images_affect_none_of_them():
    decoded = read_page(body('{"ImageId":"m-1"}', around=r',"RequestId":"\ud800","More":' + TOO_DEEP))

    assert (decoded.ids, decoded.total, decoded.request_id) == (("m-1",), 1, None)


@pytest.mark.parametrize(
    ("raw", "size"),
    [
        ('"20"', 20),
        ("20", 20),
        ('"0"', 0),
        ('"007"', 7),
        ('"999999999999"', 999_999_999_999),
        ('""', None),
        ("null", None),
    ],
)
def test_a_size_is_accepted(raw, size):
    row, rejects = beside(f'"ImageSize":{raw}')

    assert (row["image_size_gib"], rejects) == (size, [])


@pytest.mark.parametrize(
    "raw",
    ['"-1"', "-1", "-0", '"2.5"', "2.5", "20.0", "1e2", '"1e2"', '"20GiB"', '"0x14"', '" 20"', '"+20"', '"٣"', '"²"']  # noqa: RUF005  (one a line is a page)
    + ['"1_000"', '"1,000"', "true", "[]", "{}", '"NaN"', '"\\u0000"', '"20\\n"', f'"{"9" * 19}"', "9" * 5_000]
    + ["-" + "9" * 5_000, "1e400", "1E-400"],
)
def test_a_size_that_is_not_an_integer_is_rejected_as_sent(raw):
    row, rejects = beside(f'"ImageSize":{raw}')

    assert row["image_size_gib"] is None
    assert [(reject["field"], reject["raw_json"]) for reject in rejects] == [("ImageSize", raw)]


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2017-12-08T12:10:03Z", "2017-12-08 12:10:03"),
        ("2017-12-08T12:10Z", "2017-12-08 12:10:00"),
        ("2024-02-29T00:00Z", "2024-02-29 00:00:00"),
        ("2017-12-08T12:10:03+08:00", "2017-12-08 04:10:03"),
        ("2017-12-08T00:10+08:00", "2017-12-07 16:10:00"),
        ("2017-12-08T12:10:03-0530", "2017-12-08 17:40:03"),
        ("2017-12-08T12:10:03+08", "2017-12-08 04:10:03"),
        ("2017-12-08T12:10:03.25Z", "2017-12-08 12:10:03.250000"),
        ("2017-12-08T12:10:03,5Z", "2017-12-08 12:10:03.500000"),
        ("2017-12-08T12:10:03.123456789+08:00", "2017-12-08 04:10:03.123456"),
        ("2009-01-01T00:00:00Z", "2009-01-01 00:00:00"),
        ("2026-11-24T01:59:59.999999Z", "2026-11-24 01:59:59.999999"),
    ],
)
def test_a_timestamp_is_accepted(text, instant):
    row, rejects = beside(f'"CreationTime":"{text}"')

    assert (str(row["created_at_utc"]), rejects) == (instant, [])


@pytest.mark.parametrize(
    "text",
    ["0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "2023-02-29T00:00:00Z", "2017-13-01T00:00Z", "2017-12-08"]  # noqa: RUF005  (one a line is a page)
    + ["2017-12-08T24:00:00Z", "2017-12-08T12:60Z", "2017-12-08T12:10:60Z", "2017-12-08 12:10:03Z", "12:10Z", "now"]
    + ["2017-12-08T12:10:03", "2017-12-08T12:10:03z", "2017-12-08T12:10:03.Z", "2017-12-08T12:10:03+8:00", "Z"]
    + ["0001-01-01T00:00:00+08:00", "9999-12-31T23:59:59-08:00", "2017-12-08T12:10:03+24:00", "2017-12-08T24:00+08:00"]
    + ["2017-12-08T12:10:03+08:60", "2017-12-08T12.5Z", "0001-01-01T00:00:00Z", "2008-12-31T23:59:59Z"]
    + ["2009-01-01T07:59:59+08:00", "2026-11-24T02:00:00Z", "2026-11-24T10:00:00+08:00", "9999-12-31T23:59:59Z"]
    + ["٢٠١٧-12-08T12:10:03Z", "2017-12-08T12:10:03Z\\n", "-017-12-08T12:10:03Z", "2017-1-8T12:10:03Z", "0"],
)
def test_an_invalid_timestamp_is_rejected_as_sent(text):
    row, rejects = beside(f'"CreationTime":"{text}"')

    assert row["created_at_utc"] is None
    assert [(reject["field"], reject["raw_json"]) for reject in rejects] == [("CreationTime", f'"{text}"')]


@pytest.mark.parametrize(
    "name", ["observed_on", "account", "image_id", "extra", "imageid", "IMAGESIZE", "", "\\u0000", "'"]
)
def test_a_field_with_any_other_name_is_unknown(name):
    row, rejects = beside(f'"{name}":"x"')

    assert (row["account"], row["image_size_gib"], rejects) == ("default", None, [])
    assert json.loads(row["extra"]) == {json.loads(f'"{name}"'): "x"}


@pytest.mark.parametrize("field", ["ImageName", "Unknown"])
def test_sixteen_mebibytes_of_one_field_are_kept(field):
    text = "x" * (16 << 20)
    row, rejects = beside(f'"{field}":"{text}"')

    assert rejects == []
    assert (row["image_name"] if field == "ImageName" else json.loads(row["extra"])["Unknown"]) == text


def test_a_page_may_be_long():
    flattened = flat(body(*(f'{{"ImageId":"m-{number}","ImageSize":"{number}"}}' for number in range(50_000))))

    assert flattened.items.column("image_size_gib").to_pylist() == list(range(50_000))


@pytest.mark.parametrize(
    ("raw", "ids", "names"),
    [
        ('{"ImageId":"a","ImageName":"1","ImageName":"2"}', ("a",), ["2"]),
        ('{"ImageId":"a","ImageName":"1","ImageName":null}', ("a",), [None]),
        ('{"ImageId":"a","ImageId":"b","ImageName":"1"}', ("b",), ["1"]),
        ('{"ImageId":7,"ImageId":"b","ImageName":"1"}', ("b",), ["1"]),
        ('{"ImageId":"a","ImageId":7,"ImageName":"1"}', ("7",), ["1"]),
        ('{"ImageId":"a","ImageId":null}', ('raw JSON: {"ImageId":"a","ImageId":null}',), []),
        ('{"ImageId":"a","Image\\u0049d":"b"}', ("b",), [None]),
        ('{"ImageId":"a","ImageName":"1","ImageName":"\\ud800"}', ("a",), [None]),
    ],
)
def test_by_reading_version_1_the_last_of_two_equal_keys_counts_for_the_id_and_for_the_row(raw, ids, names):
    sent = body(raw)

    assert read_page(sent, 1).ids == ids
    assert flatten([sent], "default", AT, reading=1).items.column("image_name").to_pylist() == names


def test_by_reading_version_1_the_last_of_two_lists_of_images_counts():
    sent = body('{"ImageId":"a"}', around=',"Images":{"Image":[{"ImageId":"b"}]}')

    assert read_page(sent, 1).ids == ("b",)
    assert flatten([sent], "default", AT, reading=1).items.column("image_id").to_pylist() == ["b"]


DISK_OF = '"DiskDeviceMappings":{"DiskDeviceMapping":[%s]}'


@pytest.mark.parametrize("more", ["", ',"Odd":{"A:b":[1,":"]}', r',"Odd":"\ud800"'])
@pytest.mark.parametrize(
    ("raw", "field", "values"),
    [
        ('"ImageName":"1","ImageName":"2"', "ImageName", '["1","2"]'),
        ('"ImageName" : "same",\n"ImageName"\t:"same"', "ImageName", '["same","same"]'),
        (r'"ImageSize":1,"Image\u0053ize":{"a":[2,"}\"]"]}', "ImageSize", r'[1,{"a":[2,"}\"]"]}]'),
        ('"CreationTime":null,"CreationTime":null', "CreationTime", "[null,null]"),
        ('"Tags":":","Tags":1', "Tags", '[":",1]'),
        ('"A:b":1,"A:b":2', "A:b", "[1,2]"),
        ('"":1,"":[2,{"":3}]', "", '[1,[2,{"":3}]]'),
        (DISK_OF % '{"Size":"1","Size":"2"}', "DiskDeviceMapping[1].Size", '["1","2"]'),
        (DISK_OF % '{"Size":"1"},{"Serial":1,"Serial":2}', "DiskDeviceMapping[2].Serial", "[1,2]"),
        (f'{DISK_OF % ""},"DiskDeviceMappings":null', "DiskDeviceMappings", '[{"DiskDeviceMapping":[]},null]'),
        (
            '"DiskDeviceMappings":{"DiskDeviceMapping":[],"DiskDeviceMapping":7}',
            "DiskDeviceMappings.DiskDeviceMapping",
            "[[],7]",
        ),
        ('"DiskDeviceMappings":{"N":1,"DiskDeviceMapping":[],"N":2}', "DiskDeviceMappings.N", "[1,2]"),
    ],
)
def test_a_field_that_stands_twice_is_rejected_with_both_values(raw, field, values, more):
    row, rejects = beside(raw + more)

    name = next((column.name for column in IMAGES.columns if column.api == field), None)
    assert name is None or row[name] is None
    found = [reject for reject in rejects if reject["field"] != "Odd"]
    assert [(reject["field"], reject["raw_json"]) for reject in found] == [(field, values)]
    assert found[0]["reason"] == "twice in one object: a list of its values"


@pytest.mark.parametrize("second", ['"ImageId":"m-1"', '"Image\\u0049d":"b"', '"ImageId":null', '"ImageId":7'])
def test_an_image_whose_id_stands_twice_has_none(second):
    raw = f'{{"ImageId":"m-1",{second}}}'
    sent = body('{"ImageId":"m-0"}', raw)

    assert read_page(sent).ids == ("m-0", f"raw JSON: {raw}")
    assert flat(sent).items.column("image_id").to_pylist() == ["m-0"]
    assert flat(sent).rejects.column("raw_json").to_pylist() == [raw]


@pytest.mark.parametrize(
    ("around", "name"),
    [
        (',"TotalCount":"1"', "TotalCount"),
        (',"TotalCount":[2]', "TotalCount"),
        (r',"Total\u0043ount":"2","RequestId":"\ud800"', "TotalCount"),
        (',"PageSize" :50', "PageSize"),
        (',"Code":0', "Code"),
        (',"Images":null', "Images"),
        (',"Images":{"Image":[]}', "Images"),
        (',"Images":{"Image":[{"ImageId":"m-2"}]}', "Images"),
        (',"RequestId":"a","RequestId":"b"', "RequestId"),
    ],
)
@pytest.mark.parametrize("images", [[], ['{"ImageId":"m-1"}'], ['{"ImageId":7}'], ['{"ImageId":"m-1","A":"B:[]"}']])
def test_an_answer_is_unusable_in_which_a_key_of_the_page_stands_twice(around, name, images):
    with pytest.raises(NotAPage, match=rf"^{name} stands twice in one object, with the values \["):
        read_page(body(*images, around=around))


def test_an_answer_is_unusable_with_two_lists_of_images_in_one_object():
    with pytest.raises(NotAPage, match="Image stands twice"):
        read_page(b'{"Images":{"Image":[{"ImageId":"a"}],"Image":[{"ImageId":"a"}]},"TotalCount":1}')


def test_an_unknown_key_beside_the_list_may_stand_twice_and_hold_lists():
    decoded = read_page(body('{"ImageId":"a"}', around=',"More":["]"],"More":[{"TotalCount":7}]'))

    assert (decoded.ids, decoded.total) == (("a",), 1)


def test_a_byte_order_mark_is_ignored():
    sent = b"\xef\xbb\xbf" + body('{"ImageId":"m-1"}')

    assert read_page(sent).ids == ("m-1",)
    assert flat(sent).items.column("image_id").to_pylist() == ["m-1"]


@pytest.mark.parametrize("total", ["9" * 6_000, "-" + "9" * 6_000, '"20GiB"', "1e3", "NaN", "[]", r'"\ud800"', '"٣"'])
def test_a_total_that_is_not_a_count_is_none(total):
    sent = b'{"Images":{"Image":[{"ImageId":"m-1"}]},"TotalCount":' + total.encode() + b"}"
    if total == "NaN":
        with pytest.raises(NotAPage, match="not a listing in JSON"):
            read_page(sent)
    else:
        assert (read_page(sent).ids, read_page(sent).total) == (("m-1",), None)


# ── any page ─────────────────────────────────────────────────────────────────

TEXTS = st.text(st.characters(exclude_categories=()), max_size=6).filter(lambda text: DEEP not in text)
"""Any character, including half surrogate pairs and NUL."""
LIKELY = st.sampled_from(
    ["20", "0", "-1", "2.5", "20GiB", "", "9" * 18, "9" * 19, "2017-12-08T12:10:03Z", "2017-12-08T12:10Z", "null"]  # noqa: RUF005  (one a line is a page)
    + ["2017-12-08T12:10:03.25+08:00", "0001-01-01T00:00+14:00", "2026-11-23T23:00-05:00"]
    + ["0000-01-01T00:00Z", "9999-12-31T23:59:59Z", "2021-13-01T00:00:00Z", "2021-02-30T00:00Z", "\\ud800", "=cmd()"]
    + ["\u2028", "\r\n", "'; drop table images; --", "\x1b[31m"]
)
NUMBERS = st.sampled_from(["0", "-0", "20", "-1", "2.50", "1e2", "1E+400", "-1e-9", "9" * 18, "9" * 30, "9" * 5_000])
STRINGS = st.builds(lambda text, is_ascii: json.dumps(text, ensure_ascii=is_ascii), TEXTS | LIKELY, st.booleans()).map(
    lambda raw: (
        raw if raw.encode("utf-8", "replace") == raw.encode("utf-8", "surrogatepass") else json.dumps(json.loads(raw))
    )
)
LITERALS = st.sampled_from(["null", "true", "false"])
SPACE = st.sampled_from(["", "", " ", "\n", "\r\n\t"])


def listed(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(
        lambda items, space: f"[{space}" + f"{space},".join(items) + "]", st.lists(values, max_size=3), SPACE
    )


def an_object(fields: st.SearchStrategy[tuple[str, str]], most: int) -> st.SearchStrategy[str]:
    """An object as raw JSON: its keys in any order, and some of them twice."""
    return st.builds(
        lambda pairs, space: f"{{{space}" + f",{space}".join(f"{k}{space}:{space}{v}" for k, v in pairs) + f"{space}}}",
        st.lists(fields, max_size=most),
        SPACE,
    )


SCALARS = STRINGS | NUMBERS | LITERALS
NOT_DEEP = st.recursive(SCALARS, lambda values: listed(values) | an_object(st.tuples(STRINGS, values), 3), max_leaves=4)
ANY = st.integers(0, 9).flatmap(lambda of_ten: st.just(json.dumps(DEEP)) if of_ten == 9 else NOT_DEEP)  # it takes long


def named(*names: str) -> st.SearchStrategy[str]:
    return st.sampled_from([json.dumps(name) for name in names])


IMAGE_NAMES = [column.api for column in IMAGES.columns if column.api]
DISK_NAMES = [column.api for column in IMAGE_DISKS.columns if column.api and column.api != "ImageId"]
ODD_NAMES = ("imageid", "account", "observed_on", "Tags", "ImageId ", "Image\0Id")
DISK = an_object(st.tuples(named(*DISK_NAMES, *ODD_NAMES), SCALARS | ANY) | st.tuples(STRINGS, ANY), 5)
DISKS = an_object(st.tuples(named("DiskDeviceMapping", "More"), listed(DISK) | listed(DISK | ANY) | ANY), 2)
FIELDS = st.one_of(
    st.tuples(named(*IMAGE_NAMES), SCALARS),
    st.tuples(named(*IMAGE_NAMES), ANY),
    st.tuples(named("DiskDeviceMappings"), DISKS | ANY),
    st.tuples(named(*ODD_NAMES) | STRINGS, ANY),
)
IMAGE = st.builds(
    lambda name, raw: raw if name is None else raw[:-1].rstrip() + ("," if ":" in raw else "") + f'"ImageId":{name}}}',
    st.none() | STRINGS,
    an_object(FIELDS, 8),
)
PAGES = st.lists(st.lists(IMAGE | IMAGE | ANY, max_size=4), min_size=1, max_size=3)


class Spelled(str):
    """A number as sent."""

    __slots__ = ()


class Pairs(dict[str, Any]):
    """An object in which the last of a repeated key counts; `sent` keeps all pairs."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.sent = pairs


def understood(raw: str) -> Any:
    """Raw JSON as decoded by Python's own reader."""
    return json.loads(raw, parse_int=Spelled, parse_float=Spelled, object_pairs_hook=Pairs)


def is_readable(value: Any) -> bool:
    """Whether a value can be decoded: no half of a surrogate pair, not nested too deep."""
    if isinstance(value, list):
        return all(map(is_readable, value))
    if isinstance(value, dict):
        pairs = value.sent if isinstance(value, Pairs) else value.items()
        return all(is_readable(name) and is_readable(item) for name, item in pairs)
    return not isinstance(value, str) or not (re.search("[\ud800-\udfff]", value) or DEEP in value)


def expected(column_kind: str, value: Any) -> tuple[Any, bool]:
    """The typed value, and whether it is rejected; computed without the code under test."""
    if value is None:
        return None, False
    if not isinstance(value, str) or not is_readable(value):
        return None, True
    if column_kind == "text":
        return str(value), False
    if value == "" and not isinstance(value, Spelled):
        return None, False
    if column_kind == "timestamp":
        if isinstance(value, Spelled) or not re.fullmatch(
            r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?(Z|[+-][0-9]{2}:[0-9]{2})", value
        ):
            return None, True
        try:
            instant = dt.datetime.fromisoformat(value).astimezone(dt.UTC).replace(tzinfo=None)
        except (ValueError, OverflowError):
            return None, True
        is_possible = instant.year >= 2009 and instant - AT < dt.timedelta(days=1)
        return (instant, False) if is_possible else (None, True)
    longest = 12 if column_kind == "gib" else 18
    return (int(value), False) if re.fullmatch(rf"[0-9]{{1,{longest}}}", value) else (None, True)


def doubled(values: Any) -> set[str]:
    """The keys that stand twice in an object."""
    names = Counter(name for name, _ in values.sent) if isinstance(values, Pairs) else {}
    return {name for name, count in names.items() if count > 1 and is_readable(name)}


def expected_row(table: Table, values: dict[str, Any], prefix: str) -> tuple[dict[str, Any], Counter[str]]:
    row, rejects = {}, Counter[str]()
    for column in table.columns:
        if column.api and not (table is IMAGE_DISKS and column.api == "ImageId"):
            is_twice = column.api in doubled(values)
            row[column.name], is_reject = (None, True) if is_twice else expected(column.kind, values.get(column.api))
            rejects[prefix + column.api] += is_reject
    return row, +rejects


def unknown(
    values: dict[str, Any], known: list[str], prefix: str, twice: set[str]
) -> tuple[dict[str, Any], Counter[str]]:
    """The expected `extra`, and the rejects for its undecodable values and for the keys that stand `twice`."""
    extra, rejects = {}, Counter[str]()
    for name, value in values.items():
        if name not in known:
            shown = re.sub("[\ud800-\udfff]", "\ufffd", name)
            extra[shown] = value if is_readable(value) and name not in twice else None
            rejects[prefix + shown] += not is_readable(value) or name in twice
    return extra, +rejects


def expect(image: Any) -> tuple[dict[str, Any], list[dict[str, Any]], Counter[str]] | None:
    """The row of an image, the rows of its disks and its rejects by field; None if it has no id."""
    twice = doubled(image)
    if not isinstance(image, dict) or not expected("text", image.get("ImageId"))[0] or "ImageId" in twice:
        return None
    row, rejects = expected_row(IMAGES, image, "")
    rest = dict(image)
    mappings = rest.pop("DiskDeviceMappings", None)
    if "DiskDeviceMappings" in twice:
        mappings, rejects["DiskDeviceMappings"] = None, 1
    for name in doubled(mappings):
        rejects[f"DiskDeviceMappings.{name}"] += 1
        mappings[name] = None
    entries = mappings.pop("DiskDeviceMapping", None) if isinstance(mappings, dict) else None
    entries = [DEEP] if entries == DEEP else entries  # a list with one item that is not a disk
    rejects["DiskDeviceMappings"] += mappings is not None and not isinstance(mappings, dict)
    rejects["DiskDeviceMappings.DiskDeviceMapping"] += entries is not None and not isinstance(entries, list)
    if isinstance(mappings, dict) and mappings:
        around = {re.sub("[\ud800-\udfff]", "\ufffd", name): value for name, value in mappings.items()}
        rest["DiskDeviceMappings"] = around if is_readable(around) else "\ud800"
    extra, more = unknown(rest, IMAGE_NAMES, "", twice)
    disks = []
    for number, entry in enumerate(entries if isinstance(entries, list) else [], start=1):
        place = f"DiskDeviceMapping[{number}]"
        rejects[place] += not isinstance(entry, dict)
        disk, bad = expected_row(IMAGE_DISKS, entry if isinstance(entry, dict) else {}, f"{place}.")
        disk_extra, worse = unknown(entry if isinstance(entry, dict) else {}, DISK_NAMES, f"{place}.", doubled(entry))
        disks.append({**disk, "disk_number": number, "extra": disk_extra or None})
        rejects += bad + worse
    return {**row, "extra": extra or None}, disks, +(rejects + more)


def as_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            **{k: v for k, v in row.items() if k not in {"account", "observed_at_utc"}},
            "extra": row["extra"] and understood(row["extra"]),
        }
        for row in rows
    ]


def sent(images: list[str]) -> bytes:
    return body(*images).replace(json.dumps(DEEP).encode(), TOO_DEEP.encode())


@given(PAGES)
@example([['{"ImageId":"a","ImageName":"\\ud83d"}', '{"ImageId":"b"}']])
@example([['{"ImageId":"a","DiskDeviceMappings":{"\\ud800":1}}']])
def test_every_value_of_any_page_is_typed_or_rejected(pages):
    flattened = flat(*map(sent, pages))

    wanted = [expect(understood(raw)) for images in pages for raw in images]
    found = [rows for rows in wanted if rows is not None]
    sums = [disk_sums({"disks": disks}) for _, disks, _ in found]
    assert as_rows(flattened.items.to_pylist()) == [
        row | of_disks for (row, _, _), of_disks in zip(found, sums, strict=True)
    ]
    assert as_rows(flattened.children[0].to_pylist()) == [
        {**disk, "image_id": row["image_id"]} for row, disks, _ in found for disk in disks
    ]
    nameless = Counter({"ImageId": len(wanted) - len(found)})
    assert Counter(flattened.rejects.column("field").to_pylist()) == +sum((bad for _, _, bad in found), nameless)


@given(PAGES)
def test_the_ids_that_are_certified_are_those_of_the_rows(pages):
    for images in pages:
        certified = read_page(sent(images)).ids
        flattened = flat(sent(images))

        assert len(certified) == len(images)
        assert [image_id for image_id in certified if not image_id.startswith("raw JSON: ")] == [
            image_id
            for image_id in flattened.items.column("image_id").to_pylist()
            if not image_id.startswith("raw JSON: ")
        ]


@given(st.lists(st.lists(IMAGE, max_size=3), min_size=2, max_size=4))
def test_pages_flattened_together_or_one_by_one_give_the_same(pages):
    together = flat(*map(sent, pages))
    separate = [flat(sent(images)) for images in pages]

    for table, rows in together.by_table.items():
        assert rows.to_pylist() == [row for page_tables in separate for row in page_tables.by_table[table].to_pylist()]
    assert together.unknown_fields == {name for page_tables in separate for name in page_tables.unknown_fields}


GOOD = page(
    [
        {"ImageId": f"m-{n}", "ImageSize": str(n), "CreationTime": "2017-12-08T12:10:03Z", "ImageName": "a\\b\u4e2d"}
        | {"DiskDeviceMappings": {"DiskDeviceMapping": [{"Size": "1", "Type": "Data"}]}}
        for n in range(3)
    ]
)
CUTS = st.tuples(
    st.integers(0, len(GOOD)), st.integers(0, 12), st.binary(max_size=6) | STRINGS.map(str.encode) | ANY.map(str.encode)
)


@given(st.lists(CUTS, min_size=1, max_size=3) | st.binary(max_size=60))
def test_any_bytes_are_flattened_or_not_a_page(damage):
    broken = damage if isinstance(damage, bytes) else GOOD
    for start, length, put in damage if isinstance(damage, list) else ():
        broken = broken[:start] + put + broken[start + length :]
    try:
        certified = read_page(broken).ids
    except NotAPage as error:
        assert str(error)
        return
    flattened = flatten([broken], "default", AT)
    nameless = flattened.rejects.column("reason").to_pylist().count("no id: the image is left out")
    assert len(flattened.items) + nameless == len(certified)


# ── from landing to rebuild ────────────────────────────────────────────────────────────


def published(data: Path, bodies: list[bytes]) -> None:
    """Land and publish these pages as a run does."""
    with RawPagesWriter(data, RUN, AT.date()) as writer:
        for number, raw_body in enumerate(bodies, start=1):
            writer.add(Answer("default", 1, number, 1, None, 200, AT, AT, 0.0, None, None, None, None), raw_body)
        decision = {"account": "default", "is_published": True, "error": None, "ended_passes": 1}
        header = {
            "observed_on": str(AT.date()),
            "observed_at_utc": None,
            "code_version": "0",
            "endpoint": "",
            "run_id": RUN,
        }
        raw = writer.finish({**header, "asked_certificate": "unproven", "accounts": [decision]})
    publish(data, raw, read_answers(raw))
    write_catalog(data)


@given(pages=PAGES)
@settings(max_examples=settings.default.max_examples // 13)  # each writes and reads two lakes
def test_any_pages_are_landed_published_queried_and_rebuilt(tmp_path_factory, pages):
    data = tmp_path_factory.mktemp("lake")
    published(data, [sent(images) for images in pages])

    flattened = flatten([sent(images) for images in pages], "default", AT, seen=set())
    with connect(data) as lake:
        for table, rows in flattened.by_table.items():
            stored = lake.sql(f"select * exclude (observed_on) from {table.name}")  # noqa: S608  (a known name)
            assert stored.to_arrow_table().to_pylist() == rows.to_pylist()
        lake.execute("select json(extra) from images where extra is not null").fetchall()
        for output_format in ("table", "csv", "json", "markdown"):
            write_rows(query(lake, "from images"), output_format, io.StringIO())
        assert provenance_line(lake)
    rebuild(data, into=data / "again")
    for table in (*tables_of({"images"}), OBSERVATIONS):
        before, after = (next((root / "lake" / table.name).rglob("*.parquet")) for root in (data, data / "again"))
        assert before.read_bytes() == after.read_bytes()
