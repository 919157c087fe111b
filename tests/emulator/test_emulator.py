"""The local endpoint keeps what the published page promises, and refuses what the service refuses."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlencode

import pytest
from alibabacloud_ens20171110 import models
from alibabacloud_ens20171110.client import Client
from alibabacloud_tea_openapi.exceptions import ClientException
from alibabacloud_tea_openapi.models import Config
from alibabacloud_tea_openapi.utils import Utils
from darabonba.request import DaraRequest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.emulator import Endpoint, Key, living_account, read_account

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "emulator"
DAY_0 = datetime(2026, 10, 1, tzinfo=UTC)


class Got(NamedTuple):
    """One answer: its status, headers and parsed body."""

    status: int
    headers: dict[str, str]
    body: Any


def sign(
    endpoint: Endpoint,
    params: dict[str, str],
    *,
    method: str = "POST",
    form: bytes = b"",
    key: str = "emulator",
    secret: str = SECRET,
    **headers: str | None,
) -> dict[str, str]:
    """The headers of a call, signed by the vendor's own code; a header given as None is left out."""
    sent = {
        "host": endpoint.url.removeprefix("http://"),
        "x-acs-action": "DescribeSelfImages",
        "x-acs-version": "2017-11-10",
        "x-acs-date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "x-acs-signature-nonce": uuid.uuid4().hex,
        "x-acs-content-sha256": hashlib.sha256(form).hexdigest(),
    }
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    signed = {name: value for name, value in (sent | given).items() if value is not None}
    request = DaraRequest()
    request.method, request.pathname, request.query, request.headers = method, "/", params, signed
    payload = hashlib.sha256(form).hexdigest()
    signed["authorization"] = Utils.get_authorization(request, "ACS3-HMAC-SHA256", payload, key, secret)
    if form:
        signed["content-type"] = "application/x-www-form-urlencoded"
    return signed


def send(
    endpoint: Endpoint,
    headers: dict[str, str],
    query: str = "",
    *,
    method: str = "POST",
    body: bytes = b"",
    path: str = "/",
) -> Got:
    """Send a request as it is given."""
    connection = http.client.HTTPConnection(endpoint.url.removeprefix("http://"), timeout=10)
    try:
        connection.putrequest(method, f"{path}?{query}" if query else path, skip_host=True, skip_accept_encoding=True)
        for name, value in {**headers, "content-length": str(len(body))}.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        raw = answer.read()
    finally:
        connection.close()
    got = {name.lower(): value for name, value in answer.getheaders()}
    if got.get("content-encoding") == "gzip":
        raw = gzip.decompress(raw)
    return Got(answer.status, got, json.loads(raw))


def call(endpoint: Endpoint, params: dict[str, str] | None = None, *, method: str = "POST", **signing: Any) -> Got:
    """One signed call, parameters in the query."""
    query = params or {}
    return send(endpoint, sign(endpoint, query, method=method, **signing), urlencode(query), method=method)


def images_of(got: Got) -> list[dict[str, Any]]:
    return got.body["Images"]["Image"]


def typed_client(endpoint: Endpoint, secret: str = SECRET) -> Client:
    return Client(
        Config(
            access_key_id="emulator",
            access_key_secret=secret,
            endpoint=endpoint.url.removeprefix("http://"),
            protocol="HTTP",
            region_id="cn-hangzhou",
        )
    )


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with Endpoint({"emulator": Key("emulator", living_account(images=143, seed=1))}) as open_endpoint:
        yield open_endpoint


# --- Clients that are not ours ---


def test_the_typed_vendor_client_sees_the_same_images(endpoint):
    client = typed_client(endpoint)

    pages = [
        client.describe_self_images(models.DescribeSelfImagesRequest(page_number=number, page_size=50)).body
        for number in (1, 2, 3)
    ]

    seen = [image.to_map() for page in pages for image in page.images.image]
    kept = living_account(images=143, seed=1).images_on(day=0)
    assert [page.total_count for page in pages] == ["143"] * 3
    assert [image["ImageId"] for image in seen] == [image["ImageId"] for image in kept]
    for ours, theirs in zip(kept, seen, strict=True):
        for field in ours.keys() - {"DiskDeviceMappings"}:  # its model drops an empty list
            assert theirs[field] == ours[field]


def test_the_typed_vendor_client_is_refused_with_a_wrong_secret(endpoint):
    with pytest.raises(ClientException) as refused:
        typed_client(endpoint, secret="wrong").describe_self_images(models.DescribeSelfImagesRequest())

    assert refused.value.code == "SignatureDoesNotMatch"


# --- As published ---


def test_the_published_example_comes_back_value_for_value(tmp_path):
    path = tmp_path / "example.json"
    path.write_text(json.dumps(PUBLISHED))

    with Endpoint({"emulator": ("emulator", read_account(path))}) as served:
        got = call(served)

    assert got.body | {"RequestId": ""} == PUBLISHED | {"RequestId": ""}


def test_sizes_and_counts_are_text_and_the_code_is_a_number(endpoint):
    body = call(endpoint, {"PageSize": "50"}).body

    assert (body["Code"], body["PageSize"], body["PageNumber"], body["TotalCount"]) == (0, "50", "1", "143")
    assert all(isinstance(image.get("ImageSize", ""), str) for image in body["Images"]["Image"])


def test_a_page_has_ten_images_unless_asked_otherwise(endpoint):
    got = call(endpoint)

    assert len(images_of(got)) == 10
    assert (got.body["PageNumber"], got.body["PageSize"]) == ("1", "10")


def test_a_page_is_cut_to_fifty_and_says_so(endpoint):
    got = call(endpoint, {"PageSize": "100"})

    assert len(images_of(got)) == 50
    assert got.body["PageSize"] == "50"


def test_a_large_page_is_refused_on_request():
    with Endpoint({"emulator": ("emulator", living_account(60))}, refuse_large_pages=True) as served:
        assert call(served, {"PageSize": "51"}).body["Code"] == "InvalidParameter.PageSize"
        assert len(images_of(call(served, {"PageSize": "50"}))) == 50


def test_the_pages_together_are_the_account_once(endpoint):
    pages = [images_of(call(endpoint, {"PageNumber": str(n), "PageSize": "20"})) for n in range(1, 9)]

    assert [image for page in pages for image in page] == living_account(143, 1).images_on(0)


def test_a_page_past_the_end_is_empty(endpoint):
    got = call(endpoint, {"PageNumber": "4", "PageSize": "50"})

    assert (got.status, images_of(got), got.body["PageNumber"]) == (200, [], "4")
    assert got.body["TotalCount"] == "143"


def test_an_empty_account_is_an_empty_list():
    with Endpoint({"emulator": ("emulator", living_account(0))}) as served:
        got = call(served)

    assert (images_of(got), got.body["TotalCount"]) == ([], "0")


@pytest.mark.parametrize(
    ("params", "field", "wanted"),
    [({"ImageName": "频转"}, "ImageName", "频转"), ({"ImageId": "5a"}, "ImageId", "5a")],
)
def test_names_and_ids_are_found_by_a_part_of_them(endpoint, params, field, wanted):
    got = call(endpoint, {**params, "PageSize": "50"})

    expected = [image for image in living_account(143, 1).images_on(0) if wanted in image[field]]
    assert expected
    assert images_of(got) == expected
    assert got.body["TotalCount"] == str(len(expected))


def test_a_snapshot_is_found_by_its_whole_id_only(endpoint):
    snapshot = next(i["SnapshotId"] for i in living_account(143, 1).images_on(0) if "SnapshotId" in i)

    whole = images_of(call(endpoint, {"SnapshotId": snapshot}))
    part = images_of(call(endpoint, {"SnapshotId": snapshot[:-1]}))

    assert whole
    assert {image["SnapshotId"] for image in whole} == {snapshot}
    assert part == []


def test_every_answer_has_its_own_request_id_in_body_and_header(endpoint):
    answers = [call(endpoint) for _ in range(3)] + [call(endpoint, secret="wrong")]

    ids = [got.body["RequestId"] for got in answers]
    assert ids == [got.headers["x-acs-request-id"] for got in answers]
    assert len(set(ids)) == 4
    assert all(re.fullmatch(r"[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}", request_id) for request_id in ids)


def test_an_answer_is_packed_only_for_those_who_accept_it(endpoint):
    headers = sign(endpoint, {"PageSize": "50"})
    packed = send(endpoint, {**headers, "accept-encoding": "br, gzip;q=0.5"}, "PageSize=50")
    plain = send(endpoint, {**sign(endpoint, {"PageSize": "50"}), "accept-encoding": "gzip;q=0"}, "PageSize=50")

    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) / 3
    assert images_of(packed) == images_of(plain)


# --- Ways to ask ---


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_action_and_parameters_may_stand_in_the_query(endpoint, method):
    params = {"Action": "DescribeSelfImages", "Version": "2017-11-10", "PageNumber": "2"}

    got = call(endpoint, params, method=method, x_acs_action=None, x_acs_version=None)

    assert (got.status, got.body["PageNumber"]) == (200, "2")


def test_parameters_may_stand_in_a_form(endpoint):
    form = urlencode({"PageNumber": "2", "PageSize": "7"}).encode()

    got = send(endpoint, sign(endpoint, {}, form=form), body=form)

    assert (got.body["PageNumber"], len(images_of(got))) == ("2", 7)


@pytest.mark.parametrize("encode", [urlencode, lambda params: urlencode(params, quote_via=quote)])
def test_a_space_may_travel_as_plus_or_percent_and_is_signed_the_same(endpoint, encode):
    params = {"ImageName": "copy of golden+~*/é"}

    got = send(endpoint, sign(endpoint, params), encode(params))

    assert (got.status, images_of(got)) == (200, [])


# --- Refusals ---


def skewed(minutes: float) -> str:
    return (datetime.now(UTC) + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize(
    ("status", "code", "params", "signing"),
    [
        (400, "SignatureDoesNotMatch", {}, {"secret": "wrong"}),
        (404, "InvalidAccessKeyId.NotFound", {}, {"key": "nobody"}),
        (400, "InvalidTimeStamp.Expired", {}, {"x_acs_date": skewed(-600)}),
        (400, "InvalidTimeStamp.Expired", {}, {"x_acs_date": skewed(600)}),
        (400, "InvalidTimeStamp.Format", {}, {"x_acs_date": "yesterday"}),
        (400, "IncompleteSignature", {}, {"x_acs_signature_nonce": None}),
        (400, "IncompleteSignature", {}, {"x_acs_content_sha256": None}),
        (400, "SignatureDoesNotMatch", {}, {"x_acs_content_sha256": "0" * 64}),
        (400, "NoPermission", {}, {"key": "reader"}),
        (400, "MissingSecurityToken", {}, {"key": "sts"}),
        (403, "InvalidSecurityToken.Expired", {}, {"key": "sts", "x_acs_security_token": "another"}),
        (403, "InvalidSecurityToken.Expired", {}, {"key": "old-sts", "x_acs_security_token": "token"}),
        (400, "InvalidSecurityToken.Malformed", {}, {"x_acs_security_token": "token"}),
        (400, "MissingParameter", {}, {"x_acs_action": None}),
        (400, "MissingParameter", {}, {"x_acs_version": None}),
        (404, "InvalidAction.NotFound", {}, {"x_acs_action": "DescribeInstances"}),
        (400, "InvalidVersion", {}, {"x_acs_version": "2014-05-26"}),
        (405, "UnsupportedHTTPMethod", {}, {"method": "PUT"}),
        (400, "InvalidParameter.PageSize", {"PageSize": "0"}, {}),
        (400, "InvalidParameter.PageSize", {"PageSize": "many"}, {}),
        (400, "InvalidParameter.PageNumber", {"PageNumber": "-1"}, {}),
        (400, "InvalidParameter.PageNumber", {"PageNumber": "9" * 5_000}, {}),
        (400, "InvalidParameter.PageNumber", {"PageNumber": "²"}, {}),
    ],
)
def test_what_is_wrong_is_refused_with_the_published_code(refusing, status, code, params, signing):
    got = call(refusing, params, **signing)

    assert (got.status, got.body["Code"]) == (status, code)
    assert set(got.body) == {"RequestId", "HostId", "Code", "Message", "Recommend"}
    assert got.body["HostId"] == refusing.url.removeprefix("http://")


@pytest.fixture(scope="module")
def refusing() -> Iterator[Endpoint]:
    account = living_account(5)
    keys = {
        "emulator": Key("emulator", account),
        "reader": Key("emulator", account, is_permitted=False),
        "sts": Key("emulator", account, security_token="token"),
        "old-sts": Key("emulator", account, "token", expires_at=datetime.now(UTC) - timedelta(seconds=1)),
    }
    with Endpoint(keys) as open_endpoint:
        yield open_endpoint


def test_a_token_opens_its_account(refusing):
    assert call(refusing, key="sts", x_acs_security_token="token").status == 200


def test_a_clock_that_is_off_by_less_than_fifteen_minutes_is_accepted(endpoint):
    assert call(endpoint, x_acs_date=skewed(-14)).status == 200
    assert call(endpoint, x_acs_date=skewed(14)).status == 200
    for minutes in (-16, 16):
        assert call(endpoint, x_acs_date=skewed(minutes)).status == 400


def test_a_signed_request_is_good_for_one_try(endpoint):
    headers = sign(endpoint, {})

    first, second = send(endpoint, headers), send(endpoint, headers)

    assert first.status == 200
    assert (second.status, second.body["Code"]) == (400, "SignatureNonceUsed")


def test_a_wrongly_signed_request_does_not_use_the_nonce_up(endpoint):
    wrong = sign(endpoint, {}, secret="wrong", x_acs_signature_nonce="a nonce of mine")
    right = sign(endpoint, {}, x_acs_signature_nonce="a nonce of mine")

    assert send(endpoint, wrong).body["Code"] == "SignatureDoesNotMatch"
    assert send(endpoint, right).status == 200


def test_a_parameter_changed_on_the_way_breaks_the_signature(endpoint):
    headers = sign(endpoint, {"PageNumber": "1"})

    assert send(endpoint, headers, "PageNumber=2").body["Code"] == "SignatureDoesNotMatch"


def test_a_form_changed_on_the_way_breaks_the_signature(endpoint):
    headers = sign(endpoint, {}, form=b"PageNumber=1")

    assert send(endpoint, headers, body=b"PageNumber=2").body["Code"] == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer token", "ACS3-HMAC-SHA256", "ACS3-HMAC-SHA256 Credential=emulator,Signature=0", "ACS3-RSA-SHA256 x=y"],
)
def test_half_a_signature_is_incomplete(endpoint, authorization):
    headers = sign(endpoint, {}) | {"authorization": authorization}

    assert send(endpoint, headers).body["Code"] == "IncompleteSignature"


def test_no_signature_is_incomplete(endpoint):
    headers = sign(endpoint, {})
    del headers["authorization"]

    assert send(endpoint, headers).body["Code"] == "IncompleteSignature"


def test_another_path_is_not_found(endpoint):
    got = send(endpoint, sign(endpoint, {}), path="/images")

    assert (got.status, got.body["Code"]) == (404, "InvalidAction.NotFound")


def test_over_its_rate_a_key_is_throttled_and_the_other_is_not():
    account = living_account(5)
    keys = {"one": ("emulator", account), "two": ("emulator", account)}

    with Endpoint(keys, qps=0.01) as served:  # one call in a hundred seconds
        answers = [call(served, key=key) for key in ("one", "one", "two")]

    assert [(got.status, got.body["Code"]) for got in answers] == [(200, 0), (400, "Throttling.User"), (200, 0)]


def test_each_key_opens_its_own_account():
    with Endpoint({"a": ("one", living_account(3)), "b": ("two", living_account(4))}) as served:
        counts = [
            call(served, key=key, secret=secret).body["TotalCount"] for key, secret in (("a", "one"), ("b", "two"))
        ]

        assert counts == ["3", "4"]
        assert [answer.key_id for answer in served.truth] == ["a", "b"]


# --- Living accounts ---

shapes = st.tuples(st.integers(0, 300), st.integers(0, 2**32))


@settings(max_examples=25, deadline=None)
@given(shapes, st.integers(0, 60))
def test_a_day_is_the_same_whatever_was_asked_before(shape, day):
    walked = living_account(*shape)
    for other in (day + 2, 0, day // 2):
        walked.images_on(other)

    assert walked.images_on(day) == living_account(*shape).images_on(day)


@settings(max_examples=25, deadline=None)
@given(shapes)
def test_day_0_has_exactly_as_many_images_as_asked_for(shape):
    assert len(living_account(*shape).images_on(0)) == shape[0]


@settings(max_examples=10, deadline=None)
@given(shapes)
def test_an_id_is_never_used_for_a_second_image(shape):
    account = living_account(*shape)
    seen: set[str] = set()
    before: set[str] = set()

    for day in range(40):
        ids = [image["ImageId"] for image in account.images_on(day)]
        assert len(ids) == len(set(ids))
        assert not (set(ids) - before) & seen
        before = set(ids)
        seen |= before


@settings(max_examples=10, deadline=None)
@given(shapes)
def test_no_image_is_younger_than_its_day(shape):
    account = living_account(*shape)

    for day in (0, 1, 30):
        seen_at = DAY_0 + timedelta(days=day, hours=2)
        assert all(created(image) <= seen_at for image in account.images_on(day))


def created(image: dict[str, str]) -> datetime:
    return datetime.fromisoformat(image["CreationTime"])


@pytest.mark.parametrize(("images", "busy_days"), [(143, 25), (1_037, 29)])
def test_something_happens_on_most_days_but_never_much(images, busy_days):
    account = living_account(images, seed=3)
    busy = 0
    happened = {"born": 0, "gone": 0, "changed": 0}

    for day in range(1, 31):
        before = {image["ImageId"]: image for image in account.images_on(day - 1)}
        after = {image["ImageId"]: image for image in account.images_on(day)}
        counts = {
            "born": len(after.keys() - before.keys()),
            "gone": len(before.keys() - after.keys()),
            "changed": sum(before[known] != after[known] for known in before.keys() & after.keys()),
        }
        assert sum(counts.values()) < 0.05 * images
        busy += any(counts.values())
        happened = {what: happened[what] + count for what, count in counts.items()}

    assert busy >= busy_days
    assert min(happened.values()) >= 5


def test_the_endpoint_shows_the_day_that_it_is_set_to(endpoint):
    account = living_account(143, 1)
    try:
        endpoint.day = 12
        images = images_of(call(endpoint, {"PageSize": "50"}))
    finally:
        endpoint.day = 0

    assert images == account.images_on(12)[:50]
    assert images != account.images_on(0)[:50]


def test_images_are_listed_newest_first():
    images = living_account(300).images_on(20)

    instants = [created(image).replace(second=0) for image in images]  # some have no seconds
    assert instants == sorted(instants, reverse=True)


def test_a_hundred_images_have_something_of_everything():
    images = living_account(143, seed=5).images_on(0)
    disks = [(image.get("DiskDeviceMappings") or {}).get("DiskDeviceMapping", []) for image in images]

    assert {image["Platform"] for image in images} == {"centos", "ubuntu", "debian", "alios", "rhel", "windows"}
    assert {image["Status"] for image in images} >= {"Available", "Pack_failed", "Upload_failed"}
    assert {image["ImageOwnerAlias"] for image in images} == {"self", "others"}
    assert {"x86_64", "arm64"} <= {image["Architecture"] for image in images}
    assert {0, 1, 2, 16} <= set(map(len, disks))
    assert sum("DiskDeviceMappings" not in image for image in images) > 2
    assert any("ImageSize" not in image for image in images)
    assert len({image["ImageName"] for image in images}) < 143
    assert any(re.search("[一-龥]", image["ImageName"]) for image in images)
    assert 8 <= len({image["RegionId"] for image in images}) <= 15
    assert min(map(created, images)) < DAY_0 - timedelta(days=5 * 365)
    assert len({image["InstanceId"] for image in images}) < 143


# --- Files ---


@pytest.mark.parametrize(
    "found", ["[]", '{"Images": null}', '{"Images": {"Image": null}}', '{"Images": {"Image": []}}']
)
def test_a_file_may_hold_an_account_without_images(tmp_path, found):
    path = tmp_path / "images.json"
    path.write_text(found)

    assert read_account(path).images_on(0) == []


def test_a_file_may_be_a_plain_list(tmp_path):
    path = tmp_path / "images.json"
    path.write_text('[{"ImageId": "m-1"}, {"ImageId": "m-2", "New": 1}]', encoding="utf-8")

    assert read_account(path).images_on(7) == [{"ImageId": "m-1"}, {"ImageId": "m-2", "New": 1}]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ("Images:", "not JSON"),
        ('{"Snapshots": []}', "expected 'Images', found Snapshots"),
        ("7", "found a number"),
        ('{"Images": {"Image": {"ImageId": "m-1"}}}', "found an object"),
        ('[{"ImageId": "m-1"}, "m-2"]', "image 2 is text"),
    ],
)
def test_a_file_that_holds_something_else_is_named_with_what_it_holds(tmp_path, found, said):
    path = tmp_path / "images.json"
    path.write_text(found)

    with pytest.raises(ValueError, match=re.escape(said)) as error:
        read_account(path)

    assert str(path) in str(error.value)


# --- Being served ---


def test_calls_and_truth_tell_what_was_answered():
    account = living_account(120)
    with Endpoint({"emulator": ("emulator", account)}) as served:
        first = call(served, {"PageNumber": "2", "PageSize": "50"})
        call(served, secret="wrong")

        assert served.calls == 2
        assert [(seen.page_number, seen.status, seen.code) for seen in served.truth] == [
            (2, 200, ""),
            (None, 400, "SignatureDoesNotMatch"),
        ]
        seen = served.truth_of(first.body["RequestId"])
        assert seen.ids() == {image["ImageId"] for image in account.images_on(0)}


def test_an_answer_is_as_late_as_asked_for():
    with Endpoint({"emulator": ("emulator", living_account(5))}, latency_ms=50) as served:
        before = datetime.now(UTC)
        got = call(served)

        assert got.status == 200
        assert datetime.now(UTC) - before >= timedelta(milliseconds=50)


@pytest.mark.parametrize("options", [{"day": -1}, {"qps": 0}, {"latency_ms": -1}])
def test_an_option_that_makes_no_sense_is_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Endpoint({"emulator": ("emulator", living_account(1))}, **options)


def test_a_taken_port_is_an_error_at_once(endpoint):
    port = int(endpoint.url.rsplit(":", 1)[1])

    with pytest.raises(OSError, match="address already in use"), Endpoint({}, port=port):
        pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_served_alone_it_stops_cleanly_on_a_signal(number):
    program = (
        "from pipeline.emulator import Endpoint, living_account, serve\n"
        "serve(Endpoint({'emulator': ('emulator', living_account(3))}), on_ready=lambda url: print(url, flush=True))"
    )

    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        url = process.stdout.readline()
        os.kill(process.pid, number)
        _, complaints = process.communicate(timeout=10)

    assert url.startswith("http://127.0.0.1:")
    assert (process.returncode, complaints) == (0, "")


PUBLISHED = {
    "Code": 0,
    "Images": {
        "Image": [
            {
                "Architecture": "x86_64",
                "CreationTime": "2017-12-08T12:10:03Z",
                "ImageId": "centos_6_08_64_20G_a****",
                "ImageName": "centos_6_08_64_20G_a****",
                "ImageOwnerAlias": "self",
                "ImageSize": "20",
                "InstanceId": "i-5iqczfxps7csjrxeca****",
                "OsVersion": "7.2",
                "Platform": "centos",
                "Status": "Creating",
                "ComputeType": "ens_vm",
                "SnapshotId": "sp-5yt3bdedxzdz6t6uuw****",
                "DiskDeviceMappings": {
                    "DiskDeviceMapping": [
                        {
                            "Type": "Data",
                            "Size": "100",
                            "Format": "Image format.\nraw\nqcow2",
                            "imageId": "i-test",
                        }
                    ]
                },
                "ImageStorageSize": "400",
                "RegionId": "cn-wulanchabu",
            }
        ]
    },
    "RequestId": "A8B8EB73-B4FD-4262-8EF6-680DF39C9BA0",
    "PageSize": "10",
    "PageNumber": "1",
    "TotalCount": "1",
}  # the published page's example response, whole
