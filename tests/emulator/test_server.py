"""The endpoint: requests as clients send them, a record of every answer, start and stop."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest
from signed_calls import call, images_of, send, sign

from pipeline.emulator import Endpoint, Key, living_account

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with Endpoint({"emulator": Key("emulator", living_account(images=143, seed=1))}) as open_endpoint:
        yield open_endpoint


# --- Requests ---


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_action_and_parameters_may_be_in_the_query(endpoint, method):
    params = {"Action": "DescribeSelfImages", "Version": "2017-11-10", "PageNumber": "2"}

    got = call(endpoint, params, method=method, x_acs_action=None, x_acs_version=None)

    assert (got.status, got.body["PageNumber"]) == (200, "2")


def test_parameters_may_be_in_a_form(endpoint):
    form = urlencode({"PageNumber": "2", "PageSize": "7"}).encode()

    got = send(endpoint, sign(endpoint, {}, form=form), body=form)

    assert (got.body["PageNumber"], len(images_of(got))) == ("2", 7)


def test_another_path_is_not_found(endpoint):
    got = send(endpoint, sign(endpoint, {}), path="/images")

    assert (got.status, got.body["Code"]) == (404, "InvalidAction.NotFound")


# --- Answers ---


def test_every_answer_has_its_own_request_id_in_body_and_header(endpoint):
    answers = [call(endpoint) for _ in range(3)] + [call(endpoint, secret="wrong")]

    ids = [got.body["RequestId"] for got in answers]
    assert ids == [got.headers["x-acs-request-id"] for got in answers]
    assert len(set(ids)) == 4
    assert all(re.fullmatch(r"[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}", request_id) for request_id in ids)


def test_an_answer_is_gzip_only_for_clients_that_accept_it(endpoint):
    headers = sign(endpoint, {"PageSize": "50"})
    packed = send(endpoint, {**headers, "accept-encoding": "br, gzip;q=0.5"}, "PageSize=50")
    plain = send(endpoint, {**sign(endpoint, {"PageSize": "50"}), "accept-encoding": "gzip;q=0"}, "PageSize=50")

    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) / 3
    assert images_of(packed) == images_of(plain)


def test_an_answer_is_delayed_by_the_latency():
    with Endpoint({"emulator": ("emulator", living_account(5))}, latency_ms=50) as served:
        before = datetime.now(UTC)
        got = call(served)

        assert got.status == 200
        assert datetime.now(UTC) - before >= timedelta(milliseconds=50)


def test_every_answer_is_recorded_with_the_ids_of_its_account():
    account = living_account(120)
    with Endpoint({"emulator": ("emulator", account)}) as served:
        first = call(served, {"PageNumber": "2", "PageSize": "50"})
        call(served, secret="wrong")

        assert served.calls == 2
        assert [(seen.page_number, seen.status, seen.code) for seen in served.answers] == [
            (2, 200, ""),
            (None, 400, "SignatureDoesNotMatch"),
        ]
        assert served.answers[0].request_id == first.body["RequestId"]
        assert served.answers[0].ids() == {image["ImageId"] for image in account.images_on(0)}


# --- Keys, days, rates ---


def test_each_key_opens_its_own_account():
    with Endpoint({"a": ("one", living_account(3)), "b": ("two", living_account(4))}) as served:
        counts = [
            call(served, key=key, secret=secret).body["TotalCount"] for key, secret in (("a", "one"), ("b", "two"))
        ]

        assert counts == ["3", "4"]
        assert [answer.key_id for answer in served.answers] == ["a", "b"]


def test_each_key_is_throttled_by_its_own_rate():
    account = living_account(5)
    keys = {"one": ("emulator", account), "two": ("emulator", account)}

    with Endpoint(keys, qps=0.01) as served:  # one call in a hundred seconds
        answers = [call(served, key=key) for key in ("one", "one", "two")]

    assert [(got.status, got.body["Code"]) for got in answers] == [(200, 0), (400, "Throttling.User"), (200, 0)]


def test_the_endpoint_serves_the_day_that_is_set(endpoint):
    account = living_account(143, 1)
    try:
        endpoint.day = 12
        images = images_of(call(endpoint, {"PageSize": "50"}))
    finally:
        endpoint.day = 0

    assert images == account.images_on(12)[:50]
    assert images != account.images_on(0)[:50]


# --- Start and stop ---


@pytest.mark.parametrize("options", [{"day": -1}, {"qps": 0}, {"latency_ms": -1}])
def test_an_option_out_of_range_is_refused_by_name(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Endpoint({"emulator": ("emulator", living_account(1))}, **options)


def test_a_port_in_use_is_an_error_at_once(endpoint):
    port = int(endpoint.url.rsplit(":", 1)[1])

    with pytest.raises(OSError, match="address already in use"), Endpoint({}, port=port):
        pass


@pytest.mark.usefixtures("default_sigint")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_stops_cleanly_on_a_signal(number):
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
