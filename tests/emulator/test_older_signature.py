"""The older signature: refused by default, verified with `older_signatures`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from aliyunsdkcore.acs_exception.exceptions import ServerException
from aliyunsdkcore.client import AcsClient
from aliyunsdkcore.request import CommonRequest

from pipeline.emulator import Endpoint, living_account

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "emulator"

both_methods = pytest.mark.parametrize("method", ["GET", "POST"])


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with Endpoint({"emulator": (SECRET, living_account(images=143))}, older_signatures=True) as open_endpoint:
        yield open_endpoint


def call_with_older_client(url: str, method: str, secret: str = SECRET) -> Any:
    host, port = url.removeprefix("http://").split(":")
    client = AcsClient("emulator", secret, "cn-hangzhou", port=int(port), auto_retry=False)
    request = CommonRequest(domain=host, version="2017-11-10", action_name="DescribeSelfImages")
    request.set_method(method)
    request.set_protocol_type("http")
    request.add_query_param("ImageName", "")
    request.add_query_param("PageNumber", 2)
    (request.add_body_params if method == "POST" else request.add_query_param)("PageSize", 50)
    return json.loads(client.do_action_with_exception(request))


@both_methods
def test_the_older_vendor_client_reads_a_page(endpoint, method):
    body = call_with_older_client(endpoint.url, method)

    assert body["TotalCount"] == "143"
    assert len(body["Images"]["Image"]) == 50


@both_methods
def test_a_wrong_secret_is_refused(endpoint, method):
    with pytest.raises(ServerException) as refused:
        call_with_older_client(endpoint.url, method, secret="wrong")

    assert refused.value.get_error_code() in ("SignatureDoesNotMatch", "InvalidAccessKeySecret")


@both_methods
def test_by_default_the_older_signature_is_refused_with_the_option_to_switch_it_on(method):
    with (
        Endpoint({"emulator": (SECRET, living_account(images=3))}) as default,
        pytest.raises(ServerException) as refused,
    ):
        call_with_older_client(default.url, method)

    assert refused.value.get_error_code() == "IncompleteSignature"
    assert "--older-signatures" in refused.value.get_error_msg()


def test_emulate_accepts_it_with_the_option():
    command = [sys.executable, "-m", "pipeline", "emulate", "--port", "0", "--images", "3", "--older-signatures"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        first_line = process.stderr.readline()
        body = call_with_older_client(re.search(r"http://127\.0\.0\.1:\d+", first_line)[0], "GET")
        process.terminate()

    assert body["TotalCount"] == "3"
