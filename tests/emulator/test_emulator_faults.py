"""Each fault shows on the wire what its name says, and the ids that existed at each answer are recorded."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from signed_calls import Got, call, images_of, sign

from pipeline.emulator import FAULTS, Endpoint, Fault, living_account

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

IMAGES = 137
ALL = {image["ImageId"] for image in living_account(IMAGES, 1).images_on(0)}


@pytest.fixture
def faulty() -> Iterator[Callable[..., Endpoint]]:
    """Open endpoints with faults."""
    opened: list[Endpoint] = []

    def open_endpoint(*faults: Fault | str) -> Endpoint:
        opened.append(Endpoint({"emulator": ("emulator", living_account(IMAGES, 1))}, faults=faults))
        return opened[-1].__enter__()

    yield open_endpoint
    for endpoint in opened:
        endpoint.__exit__(None, None, None)


def page(endpoint: Endpoint, number: int = 1, **more: Any) -> Got:
    return call(endpoint, {"PageNumber": str(number), "PageSize": "50"}, **more)


def ids_of(got: Got) -> list[str]:
    return [image["ImageId"] for image in images_of(got)]


class Raw(NamedTuple):
    """An answer that may not be JSON."""

    status: int
    content_type: str | None
    body: bytes


def raw(endpoint: Endpoint) -> Raw:
    connection = http.client.HTTPConnection(endpoint.url.removeprefix("http://"), timeout=10)
    with closing(connection):
        connection.request("POST", "/", headers=sign(endpoint, {}))
        with connection.getresponse() as answer:
            return Raw(answer.status, answer.headers["Content-Type"], answer.read())


@pytest.fixture
def correct(faulty) -> list[Got]:
    """The three pages without a fault."""
    endpoint = faulty()
    return [page(endpoint, number) for number in (1, 2, 3)]


# --- The account changes while it is listed ---


@pytest.mark.parametrize(
    ("spec", "count"), [("deletions:count=2", IMAGES - 2), ("insertions:count=2", IMAGES + 2), ("churn", IMAGES)]
)
def test_the_account_changes_before_the_answer_and_its_ids_are_recorded(faulty, spec, count):
    endpoint = faulty(f"{spec},page=2" if ":" in spec else f"{spec}:page=2")

    first, second = page(endpoint, 1), page(endpoint, 2)

    before, after = endpoint.answers
    assert before.ids() == ALL
    assert after.ids() != ALL
    assert len(after.ids()) == int(second.body["TotalCount"]) == count
    assert set(ids_of(first)) <= before.ids()
    assert set(ids_of(second)) <= after.ids()


def test_churn_never_reuses_an_id(faulty):
    endpoint = faulty("churn:count=20")
    before, gone = ALL, set()

    for _ in range(30):
        page(endpoint)
        now = endpoint.answers[-1].ids()
        assert not now & gone
        gone |= before - now
        before = now

    assert len(gone) == 600


def test_deletions_at_the_start_move_images_to_a_page_already_read(faulty):
    endpoint = faulty("deletions:page=2,count=3,place=start")

    read = [image_id for number in (1, 2, 3) for image_id in ids_of(page(endpoint, number))]

    alive = endpoint.answers[-1].ids()
    assert len(alive - set(read)) == 3


def test_edits_stay_on_the_next_day(faulty):
    endpoint = faulty("deletions:count=30,times=1", "insertions:count=1,times=1")
    page(endpoint)
    edited = endpoint.answers[-1].ids()

    endpoint.day = 1
    page(endpoint)

    tomorrow = endpoint.answers[-1].ids()
    assert not tomorrow & (ALL - edited)
    assert edited - ALL <= tomorrow


# --- The request is refused ---


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("throttling", 400, "Throttling.User"),
        ("500", 500, "InternalError"),
        ("503", 503, "ServiceUnavailable"),
        ("stale-nonce", 400, "SignatureNonceUsed"),
        ("expired-token", 403, "InvalidSecurityToken.Expired"),
    ],
)
def test_a_valid_request_is_refused(faulty, name, status, code):
    endpoint = faulty(f"{name}:times=1,count=1")

    refused, served = page(endpoint), page(endpoint)

    assert (refused.status, refused.body["Code"]) == (status, code)
    assert "x-acs-retry-after" not in refused.headers
    assert served.status == 200
    assert endpoint.answers[0].ids() == ALL


def test_throttling_comes_in_bursts_and_may_send_a_retry_after(faulty):
    endpoint = faulty("throttling:page=2,times=1,count=3,ms=250")

    answers = [page(endpoint, number) for number in (1, 2, 1, 3, 1)]

    assert [got.status for got in answers] == [200, 400, 400, 400, 200]
    assert answers[2].headers["x-acs-retry-after"] == "250"


def test_a_token_can_expire_in_the_middle_of_a_run(faulty):
    endpoint = faulty("expired-token:after=2")

    assert [page(endpoint).status for _ in range(4)] == [200, 200, 403, 403]


# --- The images are not those of the page ---


def test_a_clamped_page_echoes_its_size(faulty, correct):
    endpoint = faulty("clamped:count=20")

    got = page(endpoint, 2)

    assert (got.body["PageSize"], got.body["TotalCount"]) == ("20", str(IMAGES))
    assert ids_of(got) == ids_of(correct[0])[20:40]


def test_an_unstable_order_lists_other_images_at_each_request(faulty):
    endpoint = faulty("unstable-order")

    tries = [ids_of(page(endpoint)) for _ in range(3)]

    assert len({frozenset(ids) for ids in tries}) == 3
    assert all(len(set(ids)) == 50 and set(ids) <= ALL for ids in tries)


def test_an_empty_page_has_the_full_total_count(faulty):
    got = page(faulty("empty:page=2"), 2)

    assert (images_of(got), got.body["TotalCount"]) == ([], str(IMAGES))


def test_a_short_page_lacks_images(faulty, correct):
    got = page(faulty("short:count=2"))

    assert len(ids_of(got)) == 48
    assert set(ids_of(got)) < set(ids_of(correct[0]))


def test_a_repeated_page_has_the_images_of_another_page(faulty, correct):
    got = page(faulty("repeated:page=3"), 3)

    assert ids_of(got) == ids_of(correct[1])
    assert got.body["PageNumber"] == "3"


def test_a_double_image_replaces_another(faulty, correct):
    got = page(faulty("double"))

    assert len(ids_of(got)) == 50
    assert len(set(ids_of(got))) == 49
    assert set(ids_of(got)) < set(ids_of(correct[0]))


def test_a_twin_without_its_id_replaces_another_image(faulty, correct):
    images = images_of(page(faulty("twin")))
    (twin,) = [image for image in images if "ImageId" not in image]

    assert len(images) == 50
    assert sum(all(image[field] == value for field, value in twin.items()) for image in images) == 2
    assert len(set(ids_of(correct[0])) - {image.get("ImageId") for image in images}) == 1


def test_another_page_is_returned_with_its_own_number(faulty, correct):
    got = page(faulty("other-page:page=1"))

    assert (ids_of(got), got.body["PageNumber"]) == (ids_of(correct[1]), "2")


# --- Fields or values are wrong ---


@pytest.mark.parametrize(
    ("spec", "changed"),
    [
        ("null", {"Images": None}),
        ("null-list", {"Images": {"Image": None}}),
        ("wrong-number", {"PageNumber": "2"}),
        ("wrong-total", {"TotalCount": "138"}),
        ("wrong-total:count=-30", {"TotalCount": "107"}),
        ("code", {"Code": 1}),
        ("numbers-as-text", {"Code": "0"}),
    ],
)
def test_the_body_differs_in_this_field_only(faulty, correct, spec, changed):
    got = page(faulty(spec))

    same_id = {"RequestId": got.body["RequestId"]}
    assert got.status == 200
    assert got.body == correct[0].body | changed | same_id


def test_the_total_can_be_missing(faulty):
    assert "TotalCount" not in page(faulty("no-total")).body


def test_the_list_can_be_an_object(faulty, correct):
    assert images_of(page(faulty("object"))) == images_of(correct[0])[0]


def test_unknown_fields_are_in_the_body_the_images_and_the_disks(faulty, correct):
    got = page(faulty("unknown-fields"))

    assert got.body["NextToken"] == ""
    assert all({"BootMode", "Tags"} <= image.keys() for image in images_of(got))
    disks = [
        disk
        for image in images_of(got)
        for disk in (image.get("DiskDeviceMappings") or {}).get("DiskDeviceMapping", [])
    ]
    assert disks
    assert all(disk["IsEncrypted"] is False for disk in disks)
    assert ids_of(got) == ids_of(correct[0])


def test_fields_other_than_the_id_can_be_missing(faulty, correct):
    got = page(faulty("missing-fields"))

    fields = [{field for image in images_of(answer) for field in image} for answer in (correct[0], got)]
    assert len(fields[0] - fields[1]) == 3
    assert ids_of(got) == ids_of(correct[0])


def test_an_image_can_lack_its_id(faulty):
    got = page(faulty("missing-id"))

    assert sum("ImageId" not in image for image in images_of(got)) == 1


def test_values_can_have_a_wrong_type(faulty):
    got = page(faulty("bad-values:count=2"))

    assert sum(image.get("ImageSize") == "twenty" for image in images_of(got)) == 2


def test_text_can_be_sent_as_numbers(faulty, correct):
    got = page(faulty("text-as-numbers"))

    assert (got.body["TotalCount"], got.body["PageSize"], got.body["PageNumber"]) == (IMAGES, 50, 1)
    for ours, theirs in zip(images_of(correct[0]), images_of(got), strict=True):
        assert theirs["ImageStorageSize"] == int(ours["ImageStorageSize"])
        for disk, typed in zip(disks_of(ours), disks_of(theirs), strict=True):
            assert typed == disk | {"Size": int(disk["Size"])}


def disks_of(image: dict[str, Any]) -> list[dict[str, Any]]:
    return (image.get("DiskDeviceMappings") or {}).get("DiskDeviceMapping", [])


# --- The bytes are wrong, or do not all arrive ---


@pytest.mark.parametrize(("name", "status"), [("html", 200), ("html-502", 502)])
def test_the_response_can_be_an_html_page(faulty, name, status):
    answer = raw(faulty(name))

    assert (answer.status, answer.content_type) == (status, "text/html")
    assert answer.body.startswith(b"<html>")


def test_the_json_can_be_truncated(faulty):
    body = raw(faulty("cut")).body

    assert body.startswith(b'{"Code":0,')
    with pytest.raises(json.JSONDecodeError):
        json.loads(body)


def test_the_connection_can_be_reset_in_the_middle_of_the_body(faulty):
    with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
        raw(faulty("reset"))


def test_the_body_can_be_sent_slowly(faulty):
    began = time.monotonic()

    body = json.loads(raw(faulty("drip:count=4,ms=80")).body)

    assert len(body["Images"]["Image"]) == 10
    assert time.monotonic() - began >= 0.08


# --- hostile: to exhaust the client ---


def bytes_of(endpoint: Endpoint, size: int | None = None) -> tuple[str | None, bytes]:
    """Read `size` bytes of an answer's body as sent: its Content-Encoding, and the bytes."""
    connection = http.client.HTTPConnection(endpoint.url.removeprefix("http://"), timeout=10)
    with closing(connection):
        connection.request("POST", "/", headers=sign(endpoint, {}))
        with connection.getresponse() as answer:
            return answer.headers["Content-Encoding"], answer.read(size)


def test_a_silent_answer_comes_after_ms_milliseconds(faulty):
    began = time.monotonic()

    assert page(faulty("silent:ms=200")).status == 200
    assert time.monotonic() - began >= 0.2


def test_a_hang_up_ends_the_connection_within_the_headers(faulty):
    endpoint = faulty("hang-up")
    host, _, port = endpoint.url.removeprefix("http://").partition(":")
    head = "".join(f"{name}: {value}\r\n" for name, value in sign(endpoint, {}).items())
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"POST / HTTP/1.1\r\n{head}\r\n".encode())
        received = b"".join(iter(lambda: connection.recv(1000), b""))

    assert received == b"HTTP/1.1 200 OK\r\nContent-"


def test_an_endless_body_begins_with_the_json(faulty):
    encoding, body = bytes_of(faulty("endless"), 1 << 20)

    assert (encoding, len(body)) == ("identity", 1 << 20)
    assert json.loads(body)["Code"] == 0


def test_a_gzip_bomb_unpacks_to_a_thousand_times_its_size(faulty):
    encoding, body = bytes_of(faulty("gzip-bomb:count=8"))

    assert encoding == "gzip"
    assert len(gzip.decompress(body)) > 8 << 20 > 100 * len(body)
    assert json.loads(gzip.decompress(body))["Code"] == 0


def test_bad_gzip_is_json_that_was_not_packed(faulty):
    encoding, body = bytes_of(faulty("bad-gzip"))

    assert (encoding, json.loads(body)["Code"]) == ("gzip", 0)


def test_cut_gzip_lacks_its_last_bytes(faulty):
    encoding, body = bytes_of(faulty("cut-gzip:count=100"))

    assert encoding == "gzip"
    with pytest.raises(EOFError):
        gzip.decompress(body)


def test_nested_lists_are_count_deep(faulty):
    got = page(faulty("nested:count=20"))

    assert json.dumps(got.body["Nested"]) == "[" * 20 + "]" * 20
    assert len(ids_of(got)) == 50


# --- When a fault hits ---


def hits(endpoint: Endpoint, pages: list[int], **more: Any) -> list[bool]:
    return [page(endpoint, number, **more).status == 503 for number in pages]


def test_without_options_a_fault_never_ends(faulty):
    assert hits(faulty("503"), [1, 2, 3, 1]) == [True] * 4


def test_a_fault_hits_its_page_the_given_number_of_times(faulty):
    assert hits(faulty("503:page=2,times=1"), [1, 2, 2, 3]) == [False, True, False, False]


def test_random_hits_depend_on_the_seed_and_not_on_the_order_of_requests(faulty):
    pages = list(range(1, 41))

    first = dict(zip(pages, hits(faulty("503:p=0.4,seed=7"), pages), strict=True))
    same = dict(zip(pages[::-1], hits(faulty("503:p=0.4,seed=7"), pages[::-1]), strict=True))
    other = dict(zip(pages, hits(faulty("503:p=0.4,seed=8"), pages), strict=True))

    assert first == same
    assert first != other
    assert 5 < sum(first.values()) < 30


def test_a_fault_can_hit_one_key_only():
    account = living_account(3)
    keys = {"one": ("emulator", account), "two": ("emulator", account)}

    with Endpoint(keys, faults=["503:key=two"]) as endpoint:
        assert hits(endpoint, [1], key="one") == [False]
        assert hits(endpoint, [1], key="two") == [True]


def test_a_fault_can_hit_one_action_only(faulty):
    endpoint = faulty("503:action=DescribeSelfImages,times=1", "500:action=DescribeInstances")

    assert [page(endpoint).status for _ in range(2)] == [503, 200]
    assert page(endpoint, x_acs_action="DescribeInstances").status == 500


def test_several_faults_can_hit_one_response(faulty):
    endpoint = faulty("deletions:count=5", "wrong-total:count=5", Fault(name="empty", page=3))

    got = page(endpoint, 3)

    assert (got.body["TotalCount"], images_of(got)) == (str(IMAGES), [])
    assert len(endpoint.answers[0].ids()) == IMAGES - 5
    assert endpoint.answers[0].faults == ("deletions", "empty", "wrong-total")


def test_faults_can_be_set_while_the_endpoint_serves(faulty):
    endpoint = faulty()
    assert hits(endpoint, [1]) == [False]

    endpoint.faults = ["503"]

    assert hits(endpoint, [1]) == [True]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("delusions", "no fault is called 'delusions': did you mean deletions? there are deletions, insertions"),
        ("empty:pages=1", "'pages=1' is not option=value; the options are page"),
        ("empty:pages=1", "; did you mean page?"),
        ("empty:page", "'page' is not option=value"),
        ("empty:page=one", "page=one is not a whole number"),
        ("empty:p=often", "p=often is not a probability from 0 to 1"),
        ("empty:action=DescribeInstance", "no action is called 'DescribeInstance': did you mean DescribeInstances?"),
        ("empty:place=middle", "place=middle is not one of start, end, anywhere"),
        ("empty:p=2", "is not a probability"),
        ("empty:page=0", "page=0 is below 1"),
    ],
)
def test_an_invalid_fault_is_refused_with_the_reason(spec, message):
    with pytest.raises(ValueError, match="fault") as error:
        Fault.parse(spec)

    assert message in str(error.value)


def test_every_fault_has_a_one_line_description_and_a_test():
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*_faults.py"))

    for name, description in FAULTS.items():
        assert f'"{name}' in tests
        assert description
        assert "\n" not in description
