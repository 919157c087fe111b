"""One signed call: its bytes, its errors, its retries, and the rate of calls."""

import asyncio
import datetime as dt
import json
import os
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from loopback import LoopbackServer

from pipeline.credentials import Account, key_account, profile_account
from pipeline.emulator import Endpoint, Key, living_account
from pipeline.errors import (
    BadSetting,
    ClockIsWrong,
    NoCredentials,
    Refused,
    StillThrottled,
    Unreachable,
    classify,
)
from pipeline.extract.attempt import Attempt
from pipeline.extract.client import EnsApi
from pipeline.extract.endpoint import endpoint_url
from pipeline.extract.event_loop import run_blocking
from pipeline.extract.probe import probe
from pipeline.extract.rate_limit import RateLimiter
from pipeline.extract.retry import DEFAULT_RETRY, RetryPolicy
from pipeline.resources.images import IMAGES_RESOURCE

LIST_IMAGES = IMAGES_RESOURCE.action
ONE_IMAGE = {"PageNumber": "1", "PageSize": "1"}


def call(endpoint: str, account: Account, attempts: list[Attempt] | None = None, **options: Any) -> Attempt:
    async def work() -> Attempt:
        async with EnsApi(endpoint, **options) as api:
            return await api.call(account, LIST_IMAGES, ONE_IMAGE, (attempts if attempts is not None else []).append)

    return run_blocking(work)


def test_a_call_returns_the_body_byte_for_byte(serve, account):
    attempts: list[Attempt] = []
    attempt = call(serve(images=1).url, account, attempts)

    assert json.loads(attempt.body or b"")["TotalCount"] == "1"
    assert (attempt.status, attempt.error_code, attempts) == (200, None, [attempt])
    assert attempt.request_id == json.loads(attempt.body or b"")["RequestId"]


@pytest.mark.parametrize(
    ("account", "error", "says"),
    [
        (key_account("prod", "emulator", "wrong-secret"), Refused, "SignatureDoesNotMatch.*'prod'.*set both again"),
        (key_account("prod", "nobody", "emulator"), Refused, "InvalidAccessKeyId.NotFound.*'prod'.*does not exist"),
        (key_account("prod", "reader", "emulator"), Refused, "NoPermission.*'prod'.*grant it in RAM"),
    ],
)
def test_a_refusal_ends_the_call_at_once_with_what_to_change(account, error, says):
    emulated = living_account(images=1)
    keys = {"emulator": Key("emulator", emulated), "reader": Key("emulator", emulated, is_permitted=False)}
    with Endpoint(keys) as endpoint:
        with pytest.raises(error, match=says):
            call(endpoint.url, account)
        assert endpoint.calls == 1


def test_no_error_and_no_attempt_contains_a_secret_or_a_token():
    token, secret = "token-that-is-secret", "secret-that-is-secret"
    keys = {"emulator": Key("another secret", living_account(images=1), security_token=token)}
    attempts: list[Attempt] = []
    account = key_account("prod", "emulator", secret, token)
    with Endpoint(keys) as endpoint, pytest.raises(Refused) as error:
        call(endpoint.url, account, attempts)

    visible = f"{error.value} {error.value!r} {account!r} {attempts!r}"
    assert token not in visible
    assert secret not in visible


def test_a_temporary_key_is_sent_with_its_token():
    keys = {"emulator": Key("emulator", living_account(images=1), security_token="a token")}
    with Endpoint(keys) as endpoint:
        assert call(endpoint.url, key_account("default", "emulator", "emulator", "a token")).status == 200


def test_throttled_calls_are_repeated_until_they_succeed(serve, account):
    endpoint = serve(images=1, qps=5)

    async def work() -> list[Attempt]:
        async with EnsApi(endpoint.url, workers=8, rate=None) as api:
            return await asyncio.gather(*(api.call(account, LIST_IMAGES, ONE_IMAGE, lambda _: None) for _ in range(12)))

    assert [attempt.status for attempt in run_blocking(work)] == [200] * 12
    assert endpoint.calls > 12  # the throttled ones were repeated with a new signature


def test_a_closed_port_is_unreachable_and_every_attempt_is_reported(account):
    attempts: list[Attempt] = []
    with pytest.raises(
        Unreachable, match=r"no usable answer from http://127\.0\.0\.1:9 for account 'default': try later"
    ):
        call("http://127.0.0.1:9", account, attempts, retry=RetryPolicy(attempts_without_response=2))

    assert len(attempts) == 2
    assert attempts[0].status is attempts[0].body is None
    assert attempts[1].waited_seconds > 0


class Answers(LoopbackServer):
    """A server with prepared answers, for what the emulator never sends; the last one repeats."""

    def __init__(self, *answers: tuple[int, dict[str, str], bytes]) -> None:
        self.nonces: list[str] = []
        self.proxy_credentials: list[str | None] = []
        outer, todo = self, list(answers)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.nonces.append(self.headers["x-acs-signature-nonce"])
                outer.proxy_credentials.append(self.headers["Proxy-Authorization"])
                status, headers, body = todo.pop(0) if len(todo) > 1 else todo[0]
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_CONNECT = do_POST  # noqa: N815  (a name of the standard library)

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        super().__init__(Handler)


def refusal(code: str) -> bytes:
    return json.dumps({"RequestId": "R", "HostId": "H", "Code": code, "Message": f"{code}!"}).encode()


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "Throttling.User"), (503, "ServiceUnavailable"), (400, "SignatureNonceUsed"), (502, "")],
)
def test_a_transient_failure_is_retried_with_a_new_nonce(account, status, code):
    body = refusal(code) if code else b"<html>502</html>"
    with Answers((status, {"x-acs-retry-after": "10"}, body), (200, {}, b"{}")) as server:
        assert call(server.url, account).body == b"{}"

    assert len(set(server.nonces)) == 2


def test_a_nonce_refused_twice_is_a_refusal(account):
    with (
        Answers((400, {}, refusal("SignatureNonceUsed"))) as server,
        pytest.raises(Refused, match="SignatureNonceUsed"),
    ):
        call(server.url, account)

    assert len(server.nonces) == 2


def test_endless_throttling_ends_with_still_throttled(account):
    answer = (400, {"x-acs-retry-after": "1"}, refusal("Throttling.User"))
    with Answers(answer) as server, pytest.raises(StillThrottled, match="kept throttling account 'default' in 3"):
        call(server.url, account, retry=RetryPolicy(attempts_throttled=3))

    assert len(server.nonces) == 3


def test_an_account_that_is_only_throttled_is_given_up_after_its_time_limit(account):
    answer = (400, {"x-acs-retry-after": "50"}, refusal("Throttling.User"))
    began = time.monotonic()
    with Answers(answer) as server, pytest.raises(StillThrottled, match=r"asks to wait 0 s|without one answer"):
        call(server.url, account, retry=RetryPolicy(throttled_seconds=0.2))

    assert 0.1 < time.monotonic() - began < 2
    assert 2 <= len(server.nonces) < 12


@pytest.mark.parametrize("asked", ["9" * 400, "9" * 5_000, "999999999999"])
def test_an_absurdly_long_retry_after_is_not_waited_for(account, asked):
    answer = (429, {"x-acs-retry-after": asked}, refusal("Throttling.User"))
    with Answers(answer) as server, pytest.raises(StillThrottled, match=r"asks to wait [\d,]+ s"):
        call(server.url, account)

    assert len(server.nonces) == 1


def test_a_request_id_that_is_not_utf8_can_be_encoded(account):
    with Answers((200, {"x-acs-request-id": "R\xff\xfe1"}, b"{}")) as server:
        request_id = call(server.url, account).request_id

    assert request_id is not None
    assert request_id.encode().startswith(b"R")


@pytest.mark.parametrize("length", [0, 5_000])
def test_throttling_with_status_200_is_throttling(account, length):
    body = refusal("Throttling.User") + b" " * length
    with Answers((200, {}, body), (200, {}, b"{}")) as server:
        assert call(server.url, account).body == b"{}"

    assert len(server.nonces) == 2


def test_the_time_limit_for_throttling_exceeds_a_quota_by_the_minute():
    assert DEFAULT_RETRY.throttled_seconds >= 60


def test_a_success_resets_the_time_limit_for_throttling(account):
    busy = (400, {"x-acs-retry-after": "60"}, refusal("Throttling.User"))

    async def work(url: str) -> list[int | None]:
        async with EnsApi(url, rate=None, retry=RetryPolicy(throttled_seconds=0.15)) as api:
            return [(await api.call(account, LIST_IMAGES, {}, lambda _: None)).status for _ in range(4)]

    with Answers(*[busy, (200, {}, b"{}")] * 4) as server:
        assert run_blocking(lambda: work(server.url)) == [200] * 4
    assert len(server.nonces) == 8


@pytest.mark.parametrize("rate", [float("nan"), float("inf"), -1.0])
def test_an_impossible_rate_is_refused(rate):
    with pytest.raises(BadSetting, match=f"rate must be .* not {rate}"):
        EnsApi(rate=rate)


def test_an_expired_timestamp_is_a_wrong_clock(account):
    with (
        Answers((400, {}, refusal("InvalidTimeStamp.Expired"))) as server,
        pytest.raises(ClockIsWrong, match="set the clock"),
    ):
        call(server.url, account)


@pytest.mark.parametrize(
    ("status", "code", "outcome"),
    [
        (200, None, "usable"),
        (400, "Throttling", "throttled"),
        (400, "Throttling.Api", "throttled"),
        (503, "Rejected.Throttling", "throttled"),
        (429, "HTTP429", "throttled"),
        (500, "InternalError", "transient"),
        (400, "ServiceUnavailable", "transient"),
        (None, "Timeout", "transient"),
        (400, "InvalidSecurityToken.Expired", "expired"),
        (400, "IllegalTimestamp", "clock"),
        (400, "NoPermission", "refused"),
        (403, "Forbidden.RAM", "refused"),
        (301, "HTTP301", "refused"),
    ],
)
def test_an_error_code_is_classified_whatever_the_status(status, code, outcome):
    assert classify(status, code) == outcome


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("ens.aliyuncs.com", "https://ens.aliyuncs.com"),
        ("https://ens.ap-southeast-1.aliyuncs.com/", "https://ens.ap-southeast-1.aliyuncs.com"),
        ("http://127.0.0.1:8017", "http://127.0.0.1:8017"),
        ("http://localhost:1", "http://localhost:1"),
        ("http://[::1]:8017", "http://[::1]:8017"),
    ],
)
def test_an_endpoint_is_a_host_name_or_a_url(given, url):
    assert endpoint_url(given) == url


@pytest.mark.parametrize(
    "given",
    [
        "",
        "ftp://x",
        "http://ens.aliyuncs.com",
        "ens.aliyuncs.com/path",
        "http://127.0.0.1:x",
        "http://[::1",
        "a b",
        "-",
    ],
)
def test_a_malformed_or_insecure_endpoint_is_refused(given):
    with pytest.raises(BadSetting, match="endpoint"):
        endpoint_url(given)


def test_the_proxy_of_the_environment_is_used_without_netrc(account, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("default login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("no_proxy", "elsewhere.example")
    with Answers((200, {}, b"{}")) as proxy:  # the host does not exist: the proxy answers
        monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//user:word@"))

        assert call("http://ens.example", account, allow_plain_http=True).body == b"{}"
        assert probe("http://ens.example", allow_plain_http=True).error is None
    assert proxy.proxy_credentials == ["Basic dXNlcjp3b3Jk"]


def test_loopback_and_no_proxy_hosts_bypass_the_proxy(serve, account, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "ens.example")

    assert call(serve(images=1).url, account).status == 200
    assert "ens.example" in str(
        probe("http://ens.example", allow_plain_http=True).error
    )  # connected directly: no such host


@pytest.mark.parametrize("variable", ["https_proxy", "ALL_PROXY"])
def test_an_unsupported_proxy_is_named_without_its_password(account, monkeypatch, variable):
    monkeypatch.setenv(variable, "socks5://user:word@127.0.0.1:9")

    with pytest.raises(BadSetting, match=r"proxy of kind 'socks5'.*set HTTPS_PROXY.*NO_PROXY=ens.example") as error:
        call("ens.example", account)
    assert "word" not in str(error.value)


def test_the_proxy_for_all_is_used_where_there_is_none_for_the_scheme(account, monkeypatch):
    with Answers((200, {}, b"{}")) as proxy:
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        assert call("http://ens.example", account, allow_plain_http=True).body == b"{}"

        monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        assert call("http://ens.example", account, allow_plain_http=True).body == b"{}"


@pytest.mark.parametrize(
    ("status", "told", "attempts"),
    [
        (
            302,
            r"status 302, a redirect to https://\*\*\*@portal.example/login, which is not.* — no way through the proxy",
            1,
        ),
        (407, "CONNECT with HTTP status 407 — no way through the proxy .*check HTTPS_PROXY, its user and password", 1),
        (403, "CONNECT with HTTP status 403 — no way through the proxy", 1),
        (503, "CONNECT with HTTP status 503 — no usable answer .*try later", 2),
    ],
)
def test_a_proxy_that_refuses_to_connect_is_named_with_its_status(account, monkeypatch, status, told, attempts):
    seen: list[Attempt] = []
    headers = {"Location": "https://me:s3cret@portal.example/login?token=s3cret"}
    with Answers((status, headers if status == 302 else {}, b"")) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with pytest.raises(Unreachable, match=told) as error:
            call("ens.example", account, seen, retry=RetryPolicy(attempts_without_response=2, back_off_seconds=0.01))
        probed = str(probe("ens.example").error)

    assert len(seen) == attempts
    assert f"the proxy answered CONNECT with HTTP status {status}" in probed
    assert "s3cret" not in f"{error.value} {probed} {seen}"


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("user:s3cret/x@127.0.0.1:9", "must be percent-encoded"),
        ("http://user:s3cret#x@127.0.0.1:9", "must be percent-encoded"),
        ("http://us?er:s3cret@127.0.0.1:9", "must be percent-encoded"),
        ("http://user:s3cret@127.0.0.1:port", "is not an address"),
        ("http://user:[s3cret@127.0.0.1:9", "is not an address"),
        ("http://user:s3cret@:9", "is not an address"),
    ],
)
def test_a_proxy_whose_address_cannot_be_used_is_a_bad_setting_without_its_password(
    account, monkeypatch, address, told
):
    monkeypatch.setenv("HTTPS_PROXY", address)

    with pytest.raises(BadSetting, match=f"proxy of the environment for https:// .*HTTPS_PROXY.*{told}") as error:
        call("ens.example", account)
    assert "s3cret" not in str(error.value)


def test_calls_are_no_faster_than_the_rate():
    async def work() -> float:
        limiter = RateLimiter(100)
        loop = asyncio.get_running_loop()
        started = loop.time()
        await asyncio.gather(*(limiter.acquire() for _ in range(21)))
        return loop.time() - started

    assert asyncio.run(work()) >= 0.2


class Clock:
    """A clock that moves when the test sets it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_burst_of_throttling_halves_the_rate_once(clock):
    limiter = RateLimiter(16, clock)
    for sent_at in (999.0, 999.5, 1000.0, 1000.9):
        limiter.on_throttled(sent_at)

    assert limiter.rate == 8


def test_throttling_at_the_halved_rate_halves_it_again(clock):
    limiter = RateLimiter(16, clock)
    limiter.on_throttled(1000.0)
    clock.now = 1002.0
    limiter.on_throttled(1001.5)

    assert limiter.rate == 4


def test_the_rate_rises_by_a_tenth_every_ten_seconds_without_throttling_up_to_the_limit(clock):
    limiter = RateLimiter(16, clock)
    limiter.on_throttled(1000.0)
    rates = []
    for _ in range(9):
        clock.now += 10
        asyncio.run(limiter.acquire())
        rates.append(round(limiter.rate or 0, 2))

    assert rates == [8.8, 9.68, 10.65, 11.71, 12.88, 14.17, 15.59, 16, 16]


def test_after_a_rise_a_late_response_of_the_same_burst_does_not_halve_the_rate(clock):
    limiter = RateLimiter(16, clock)
    clock.now = 1010.0
    limiter.on_throttled(1009.9)
    clock.now = 1020.0
    asyncio.run(limiter.acquire())
    limiter.on_throttled(1010.5)

    assert round(limiter.rate or 0, 2) == 8.8


def test_without_a_limit_throttling_halves_the_rate_of_the_last_second(clock):
    busy, idle = RateLimiter(None, clock), RateLimiter(None, clock)
    for _ in range(100):
        asyncio.run(busy.acquire())
    for limiter in (busy, idle):
        limiter.on_throttled(1000.0)

    assert (busy.rate, idle.rate) == (50, 10)  # a single throttled call does not stop all others


def test_throttling_does_not_raise_a_rate_below_the_lowest(clock):
    limiter = RateLimiter(0.1, clock)
    limiter.on_throttled(1000.0)

    assert limiter.rate == 0.1


def test_throttling_never_lowers_the_rate_to_zero(clock):
    limiter = RateLimiter(1, clock)
    for _ in range(10):
        clock.now += 5
        limiter.on_throttled(clock.now)

    assert limiter.rate == 0.2


def test_a_retry_after_beyond_the_time_limit_is_not_waited_for(account):
    answer = (400, {"x-acs-retry-after": "600000"}, refusal("Throttling.User"))
    with Answers(answer) as server, pytest.raises(StillThrottled, match="asks to wait 600 s"):
        call(server.url, account)

    assert len(server.nonces) == 1


def test_retry_after_replaces_the_back_off(account):
    attempts: list[Attempt] = []
    answer = (400, {"x-acs-retry-after": "150"}, refusal("Throttling.User"))
    with Answers(answer, (200, {}, b"{}")) as server:
        call(server.url, account, attempts, retry=RetryPolicy(back_off_seconds=30))

    assert 0.15 <= attempts[1].waited_seconds < 30


def test_a_refusal_whose_message_is_not_text_is_classified(account):
    body = b'{"Code": "NoPermission", "Message": {"zh": 1}, "RequestId": 7}'
    with (
        Answers((400, {}, body)) as server,
        pytest.raises(Refused, match=r"NoPermission: \{'zh': 1\}.*grant it in RAM"),
    ):
        call(server.url, account)


def test_a_refusal_without_a_message_says_so(account):
    with Answers((400, {}, b'{"Code": "Odd", "Message": " "}')) as server, pytest.raises(Refused, match="no message"):
        call(server.url, account)


def test_a_secret_quoted_in_a_body_is_redacted():
    secret, token = "a secret of thirty characters!", "a/token/of/some/length"
    body = b"<html>" + secret.encode() + b" " + token.encode() + b" " + token.replace("/", "\\/").encode()
    with Answers((200, {}, body)) as server:
        attempt = call(server.url, key_account("prod", "id", secret, token))

    assert attempt.body == b"<html>*** *** ***"


class Refreshed:
    """A provider whose credentials are valid from the second request on."""

    def __init__(self) -> None:
        self.request_count = 0

    def provider(self) -> Any:
        self.request_count += 1
        from alibabacloud_credentials.provider import StaticSTSCredentialsProvider

        token = "new" if self.request_count > 1 else "old"
        return StaticSTSCredentialsProvider(
            access_key_id="emulator", access_key_secret="emulator", security_token=token
        )


def test_an_expired_token_is_refreshed_once_for_all_concurrent_calls(account, monkeypatch):
    refreshed = Refreshed()
    monkeypatch.setattr(account, "_make_provider", refreshed.provider)
    keys = {"emulator": Key("emulator", living_account(images=1), security_token="new")}
    with Endpoint(keys, latency_ms=20) as endpoint:
        account.resolve()

        async def work() -> list[Attempt]:
            async with EnsApi(endpoint.url, workers=8, rate=None) as api:
                return await asyncio.gather(
                    *(api.call(account, LIST_IMAGES, ONE_IMAGE, lambda _: None) for _ in range(8))
                )

        assert [attempt.status for attempt in run_blocking(work)] == [200] * 8

    assert refreshed.request_count == 2


def test_a_token_that_stays_expired_is_a_refusal(account):
    with (
        Answers((400, {}, refusal("InvalidSecurityToken.Expired"))) as server,
        pytest.raises(Refused, match="get new credentials"),
    ):
        call(server.url, account)

    assert len(server.nonces) == 2


# ── credentials ──────────────────────────────────────────────────────────────


def resolved(home: Any, code: str, **environment: str) -> str:
    """What a fresh process finds, with `home` as its home: the vendor's library reads the environment at import."""
    done = subprocess.run(
        [sys.executable, "-c", f"from pipeline.credentials import *\n{code}"],
        env={"PATH": os.environ["PATH"], "HOME": str(home), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


KEYS = {"ALIBABA_CLOUD_ACCESS_KEY_ID": "from-env", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "s"}


def test_a_profile_wins_over_keys_in_the_environment(tmp_path):
    (tmp_path / ".aliyun").mkdir()
    profiles = [
        {"name": "prod", "mode": "AK", "access_key_id": "from-file", "access_key_secret": "s"},
        {"name": "test", "mode": "StsToken", "access_key_id": "sts", "access_key_secret": "s", "sts_token": "t"},
    ]
    (tmp_path / ".aliyun" / "config.json").write_text(json.dumps({"current": "test", "profiles": profiles}))

    both = "print(profile_account('prod').resolve().id, profile_account('test').resolve().token)"
    assert resolved(tmp_path, f"{both}; print(environment_account().resolve().id)", **KEYS) == "from-file t\nfrom-env\n"
    assert resolved(tmp_path, "print(environment_account().resolve().id)") == "sts\n"


def test_keys_in_the_environment_are_read_like_the_vendors_chain(tmp_path):
    code = """
key = environment_account().resolve()
print(key.id, key.secret, key.token)
from alibabacloud_credentials.provider import DefaultCredentialsProvider
found = DefaultCredentialsProvider().get_credentials()
print(found.get_access_key_id(), found.get_access_key_secret(), found.get_security_token() or None)  # empty is none
"""
    for more in ({}, {"ALIBABA_CLOUD_SECURITY_TOKEN": "t"}, {"ALIBABA_CLOUD_SECURITY_TOKEN": ""}):
        ours, theirs = resolved(tmp_path, code, **KEYS, **more).splitlines()
        assert ours == theirs


def test_keys_in_the_environment_do_not_import_the_vendors_chain(tmp_path):
    code = "environment_account().resolve(); import sys; print('alibabacloud_credentials' in sys.modules)"
    assert resolved(tmp_path, code, **KEYS) == "False\n"


def test_a_profile_without_a_name_is_refused():
    with pytest.raises(BadSetting, match="name is empty"):
        profile_account("")


def test_missing_credentials_are_an_error_with_what_to_do_and_nothing_else_is_printed(tmp_path):
    code = "try: {}.resolve()\nexcept Exception as error: print(type(error).__name__, error)"
    attempts = (code.format(account) for account in ("environment_account()", "profile_account('prod')"))
    chain, profile = resolved(tmp_path, "\n".join(attempts)).splitlines()

    assert chain.startswith("NoCredentials no credentials for account 'default'")
    assert profile.startswith("NoCredentials no credentials for account 'prod'")
    assert "ALIBABA_CLOUD_ACCESS_KEY_ID" in chain
    assert "ALIBABA_CLOUD_ACCESS_KEY_SECRET: not set; (2) " in chain
    assert f"there is no '{tmp_path}/.aliyun/config.json'" in chain
    assert "Provider" not in chain
    assert "aliyun configure --profile prod" in profile
    assert "Traceback" not in chain + profile


def test_an_empty_secret_is_missing_credentials():
    with pytest.raises(NoCredentials):
        key_account("default", "id", "").resolve()


def test_run_blocking_works_in_a_running_event_loop():
    async def notebook() -> int:
        async def work() -> int:
            await asyncio.sleep(0)
            return 7

        return run_blocking(work)

    assert asyncio.run(notebook()) == 7


def test_run_blocking_never_formats_the_result():
    class Large:
        def __repr__(self) -> str:
            raise AssertionError

    async def work() -> Large:
        await asyncio.sleep(0)
        return Large()

    assert isinstance(run_blocking(work), Large)


def test_utc_now_has_no_zone():
    from pipeline.extract.attempt import utc_now

    assert utc_now().tzinfo is None
    assert abs(utc_now().replace(tzinfo=dt.UTC) - dt.datetime.now(dt.UTC)) < dt.timedelta(seconds=5)
