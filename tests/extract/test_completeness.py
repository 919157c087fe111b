"""Decoded answers, contradictions within one, and the level that passes prove."""

import json

import pytest
from conftest import page
from hypothesis import given
from hypothesis import strategies as st

from pipeline.extract.completeness import certify_passes, digest_of_ids
from pipeline.extract.response import NotAPage, Page, contradiction, read_page


def image(name: str) -> dict[str, str]:
    return {"ImageId": name}


def answer(*ids: str, number: int = 1, total: int | None = None, size: int = 50) -> Page:
    return Page(number, size, len(ids) if total is None else total, ids, is_null=False, request_id=None)


def pages_of(count: int, *, size: int = 50, total: int | None = None, first: int = 0) -> list[Page]:
    """A pass over `count` images of an unchanging account."""
    ids = [f"m-{number}" for number in range(first, first + count)]
    pages = [ids[start : start + size] for start in range(0, count, size)] or [[]]
    if len(pages[-1]) == size:
        pages.append([])
    return [
        answer(*part, number=n, total=count if total is None else total, size=size) for n, part in enumerate(pages, 1)
    ]


# ── one answer ───────────────────────────────────────────────────────────────


def test_the_published_example_is_read(example):
    ids = ("centos_6_08_64_20G_a****",)
    assert read_page(example) == Page(1, 10, 1, ids, False, "A8B8EB73-B4FD-4262-8EF6-680DF39C9BA0", owned_ids=ids)


def test_numbers_are_read_as_text_and_as_numbers():
    decoded = read_page(b'{"Code":"0","Images":{"Image":[]},"TotalCount":0,"PageNumber":3,"PageSize":"50"}')

    assert (decoded.total, decoded.number, decoded.size) == (0, 3, 50)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "an empty body"),
        (b"<!DOCTYPE html><p>502", "a page of HTML"),
        (page([image("a")])[:-20], "not a listing in JSON"),
        (b'{"Code":1,"Images":{"Image":[]}}', "Code '1'"),
        (b'{"Images":{"Image":{"ImageId":"a"}}}', "array"),
        (b'{"Images":{"Image":[]}}\xff', "utf-8"),
        (b'{"X":' + b"[" * 100_000, "recursion"),
        (b'{"Images":{"Image":[]}} {}', "trailing"),
    ],
)
def test_a_body_that_is_not_a_listing_is_described(body, message):
    with pytest.raises(NotAPage, match=message):
        read_page(body)


def test_an_image_without_a_usable_id_is_counted_by_its_raw_json():
    decoded = read_page(page([image("a"), {"ImageName": "b"}, {"ImageId": ""}, {"ImageId": 7}, None]))

    assert decoded.ids == (
        "a",
        'raw JSON: {"ImageName": "b"}',
        'raw JSON: {"ImageId": ""}',
        "7",
        "raw JSON: null",
    )


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    )
)
def test_any_json_is_a_page_or_not_a_page(value):
    for body in (
        value,
        {"Images": value},
        {"Images": {"Image": value}},
        {"Images": {"Image": [value]}, "TotalCount": value},
    ):
        try:
            read_page(json.dumps(body).encode())
        except NotAPage as error:
            assert str(error)


@given(st.binary())
def test_any_bytes_are_a_page_or_not_a_page(body):
    try:
        read_page(body)
    except NotAPage as error:
        assert str(error)


def test_a_consistent_answer_has_no_contradiction():
    assert [contradiction(page, number, 50) for number, page in enumerate(pages_of(123), 1)] == [None, None, None]


@pytest.mark.parametrize(
    ("page", "message"),
    [
        (answer("a", "b", total=3), "2 images where TotalCount 3 calls for 3"),
        (answer("a", "a"), "an image twice"),
        (answer("a", number=2, total=1), "PageNumber 2"),
        (answer(*"abc", total=2), "3 images where TotalCount 2 calls for 2"),
        (Page(1, 50, None, (), is_null=True, request_id=None), "no list of images"),
    ],
)
def test_a_contradiction_is_described(page, message):
    assert message in (contradiction(page, 1, 50) or "")


# ── a listing ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("number", "total"), [(2, 50), (21, 1000), (1, 0)])
def test_an_empty_page_without_a_list_is_no_contradiction(number, total):
    assert contradiction(Page(number, 50, total, (), is_null=True, request_id=None), number, 50) is None


@pytest.mark.parametrize(
    ("sent", "total"), [(b"120.0", 120), (b'"7.00"', 7), (b"120.5", None), (b"1e2", None), (b"9" * 5_000, None)]
)
def test_a_total_is_read_as_an_integer_in_any_spelling(sent, total):
    assert read_page(b'{"Images":{"Image":[]},"TotalCount":' + sent + b"}").total == total


@pytest.mark.parametrize("count", [0, 1, 49, 50])
def test_one_answer_with_all_images_of_its_total_is_verified(count):
    assert certify_passes([pages_of(count)]) == "verified"


@pytest.mark.parametrize("count", [51, 100, 1037])
def test_several_pages_are_counted_by_one_pass_and_verified_by_two(count):
    assert certify_passes([pages_of(count)]) == "counted"
    assert certify_passes([pages_of(count), pages_of(count)]) == "verified"


def test_two_passes_with_different_images_are_only_counted():
    assert certify_passes([pages_of(100), pages_of(100, first=1)]) == "counted"


def test_the_order_of_images_does_not_matter():
    reordered = [answer(*reversed(page.ids), number=page.number, total=page.total) for page in pages_of(123)]

    assert certify_passes([pages_of(123), reordered]) == "verified"


@pytest.mark.parametrize(
    "last",
    [
        pages_of(99, total=100),
        [*pages_of(60)[:1], answer(*(f"m-{n}" for n in range(50, 60)), number=2, total=61)],
        [*pages_of(60)[:1], answer(*(f"m-{n}" for n in range(49, 59)), number=2, total=60)],
        [Page(1, 50, None, ("a",), is_null=False, request_id=None)],
        pages_of(100)[:2],
        [],
    ],
    ids=["fewer than the total", "a total that jumps", "an id twice", "no total", "no end", "nothing"],
)
def test_anything_less_is_unproven(last):
    assert certify_passes([pages_of(100), last]) == "unproven"


def test_equal_sets_have_equal_digests_in_any_order():
    ids = [item_id for page in pages_of(123) for item_id in page.ids]

    assert digest_of_ids(reversed(ids)) == digest_of_ids(ids) != digest_of_ids([*ids, "m-123"])


def test_a_listing_with_an_image_without_an_id_is_only_counted():
    decoded = read_page(page([image("a"), {"ImageName": "A"}]))

    assert certify_passes([[decoded]]) == certify_passes([[decoded], [decoded]]) == "counted"


@pytest.mark.parametrize("code", [b"true", b"[]", b"{}", b"1.5", b'"Forbidden"'])
def test_any_other_code_is_not_a_success(code):
    with pytest.raises(NotAPage, match="which is not a success"):
        read_page(b'{"Code":' + code + b',"TotalCount":0}')
