"""Requests without a valid signature, key, token, clock or nonce are refused with the published error."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import pytest
from alibabacloud_ens20171110 import models
from alibabacloud_tea_openapi.exceptions import ClientException
from signed_calls import call, images_of, send, sign, vendor_client

from pipeline.emulator import Endpoint, Key, living_account

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with Endpoint({"emulator": Key("emulator", living_account(images=143, seed=1))}) as open_endpoint:
        yield open_endpoint


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


# --- The vendor client ---


def test_the_vendor_client_is_refused_with_a_wrong_secret(endpoint):
    with pytest.raises(ClientException) as refused:
        vendor_client(endpoint, secret="wrong").describe_self_images(models.DescribeSelfImagesRequest())

    assert refused.value.code == "SignatureDoesNotMatch"


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
        (404, "InvalidAction.NotFound", {}, {"x_acs_action": "DescribeInstance"}),
        (400, "InvalidVersion", {}, {"x_acs_version": "2014-05-26"}),
        (405, "UnsupportedHTTPMethod", {}, {"method": "PUT"}),
        (400, "InvalidParameter.PageSize", {"PageSize": "0"}, {}),
        (400, "InvalidParameter.PageSize", {"PageSize": "many"}, {}),
        (400, "InvalidParameter.PageNumber", {"PageNumber": "-1"}, {}),
        (400, "InvalidParameter.PageNumber", {"PageNumber": "9" * 5_000}, {}),
        (400, "InvalidParameter.PageNumber", {"PageNumber": "²"}, {}),
    ],
)
def test_an_invalid_request_is_refused_with_the_published_code(refusing, status, code, params, signing):
    got = call(refusing, params, **signing)

    assert (got.status, got.body["Code"]) == (status, code)
    assert set(got.body) == {"RequestId", "HostId", "Code", "Message", "Recommend"}
    assert got.body["HostId"] == refusing.url.removeprefix("http://")


def test_a_key_with_a_token_opens_its_account(refusing):
    assert call(refusing, key="sts", x_acs_security_token="token").status == 200


def test_a_clock_may_be_wrong_by_fifteen_minutes(endpoint):
    assert call(endpoint, x_acs_date=skewed(-14)).status == 200
    assert call(endpoint, x_acs_date=skewed(14)).status == 200
    for minutes in (-16, 16):
        assert call(endpoint, x_acs_date=skewed(minutes)).status == 400


def test_a_nonce_is_accepted_once(endpoint):
    headers = sign(endpoint, {})

    first, second = send(endpoint, headers), send(endpoint, headers)

    assert first.status == 200
    assert (second.status, second.body["Code"]) == (400, "SignatureNonceUsed")


def test_a_request_with_a_wrong_signature_does_not_use_its_nonce(endpoint):
    wrong = sign(endpoint, {}, secret="wrong", x_acs_signature_nonce="a nonce of mine")
    right = sign(endpoint, {}, x_acs_signature_nonce="a nonce of mine")

    assert send(endpoint, wrong).body["Code"] == "SignatureDoesNotMatch"
    assert send(endpoint, right).status == 200


def test_a_parameter_changed_after_signing_is_detected(endpoint):
    headers = sign(endpoint, {"PageNumber": "1"})

    assert send(endpoint, headers, "PageNumber=2").body["Code"] == "SignatureDoesNotMatch"


def test_a_form_changed_after_signing_is_detected(endpoint):
    headers = sign(endpoint, {}, form=b"PageNumber=1")

    assert send(endpoint, headers, body=b"PageNumber=2").body["Code"] == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer token", "ACS3-HMAC-SHA256", "ACS3-HMAC-SHA256 Credential=emulator,Signature=0", "ACS3-RSA-SHA256 x=y"],
)
def test_a_partial_signature_is_incomplete(endpoint, authorization):
    headers = sign(endpoint, {}) | {"authorization": authorization}

    assert send(endpoint, headers).body["Code"] == "IncompleteSignature"


def test_a_missing_signature_is_incomplete(endpoint):
    headers = sign(endpoint, {})
    del headers["authorization"]

    assert send(endpoint, headers).body["Code"] == "IncompleteSignature"


@pytest.mark.parametrize("encode", [urlencode, lambda params: urlencode(params, quote_via=quote)])
def test_a_space_may_be_encoded_as_plus_or_percent(endpoint, encode):
    params = {"ImageName": "copy of golden+~*/é"}

    got = send(endpoint, sign(endpoint, params), encode(params))

    assert (got.status, images_of(got)) == (200, [])
