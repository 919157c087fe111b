"""One signed call: bytes out, errors classified, retried when that can help."""

import asyncio
import contextlib
import datetime as dt
import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import pytest

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
from pipeline.extract.client import THROTTLED_SECONDS, EnsApi
from pipeline.extract.endpoint import endpoint_url
from pipeline.extract.event_loop import run_blocking
from pipeline.extract.probe import probe
from pipeline.extract.rate_limit import RateLimiter

ONE_IMAGE = {"PageNumber": "1", "PageSize": "1"}


def call(endpoint: str, account: Account, tries: list[Attempt] | None = None, **options: Any) -> Attempt:
    async def work() -> Attempt:
        async with EnsApi(endpoint, **options) as api:
            return await api.call(account, ONE_IMAGE, (tries if tries is not None else []).append)

    return run_blocking(work)


def test_a_signed_call_brings_the_body_byte_for_byte(serve, account):
    tries: list[Attempt] = []
    seen = call(serve(images=1).url, account, tries)

    assert json.loads(seen.body or b"")["TotalCount"] == "1"
    assert (seen.status, seen.error_code, tries) == (200, None, [seen])
    assert seen.request_id == json.loads(seen.body or b"")["RequestId"]


@pytest.mark.parametrize(
    ("account", "error", "says"),
    [
        (key_account("prod", "emulator", "wrong-secret"), Refused, "SignatureDoesNotMatch.*'prod'.*put both in again"),
        (key_account("prod", "nobody", "emulator"), Refused, "InvalidAccessKeyId.NotFound.*'prod'.*does not exist"),
        (key_account("prod", "reader", "emulator"), Refused, "NoPermission.*'prod'.*grant it in RAM"),
    ],
)
def test_a_refusal_ends_the_call_at_once_and_says_what_to_change(account, error, says):
    stock = living_account(images=1)
    keys = {"emulator": Key("emulator", stock), "reader": Key("emulator", stock, is_permitted=False)}
    with Endpoint(keys) as endpoint:
        with pytest.raises(error, match=says):
            call(endpoint.url, account)
        assert endpoint.calls == 1


def test_no_secret_and_no_token_stands_in_an_error_or_in_what_is_kept():
    token, secret = "token-that-is-secret", "secret-that-is-secret"
    keys = {"emulator": Key("another secret", living_account(images=1), security_token=token)}
    tries: list[Attempt] = []
    account = key_account("prod", "emulator", secret, token)
    with Endpoint(keys) as endpoint, pytest.raises(Refused) as error:
        call(endpoint.url, account, tries)

    told = f"{error.value} {error.value!r} {account!r} {tries!r}"
    assert token not in told
    assert secret not in told


def test_a_temporary_key_is_used_with_its_token():
    keys = {"emulator": Key("emulator", living_account(images=1), security_token="a token")}
    with Endpoint(keys) as endpoint:
        assert call(endpoint.url, key_account("default", "emulator", "emulator", "a token")).status == 200


def test_a_service_that_allows_few_calls_is_asked_until_it_answers(serve, account):
    endpoint = serve(images=1, qps=5)

    async def work() -> list[Attempt]:
        async with EnsApi(endpoint.url, workers=8, rate=None) as api:
            return await asyncio.gather(*(api.call(account, ONE_IMAGE, lambda _: None) for _ in range(12)))

    assert [seen.status for seen in run_blocking(work)] == [200] * 12
    assert endpoint.calls > 12  # some were throttled, and each of those came again with a new signature


def test_an_endpoint_where_nobody_listens_is_unreachable_and_every_try_is_kept(account, monkeypatch):
    monkeypatch.setattr("pipeline.extract.client._TRIES_WITHOUT_AN_ANSWER", 2)
    tries: list[Attempt] = []
    with pytest.raises(
        Unreachable, match=r"no usable answer from http://127\.0\.0\.1:9 for account 'default': try later"
    ):
        call("http://127.0.0.1:9", account, tries)

    assert len(tries) == 2
    assert tries[0].status is tries[0].body is None
    assert tries[1].waited_seconds > 0


class Answers:
    """A server with answers made up beforehand, for what the endpoint does not say: the last one goes on."""

    def __init__(self, *answers: tuple[int, dict[str, str], bytes]) -> None:
        self.nonces: list[str] = []
        self.words_to_a_proxy: list[str | None] = []
        outer, todo = self, list(answers)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.nonces.append(self.headers["x-acs-signature-nonce"])
                outer.words_to_a_proxy.append(self.headers["Proxy-Authorization"])
                status, headers, body = todo.pop(0) if len(todo) > 1 else todo[0]
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def refusal(code: str) -> bytes:
    return json.dumps({"RequestId": "R", "HostId": "H", "Code": code, "Message": f"{code}!"}).encode()


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "Throttling.User"), (503, "ServiceUnavailable"), (400, "SignatureNonceUsed"), (502, "")],
)
def test_what_passes_is_tried_again_with_a_new_nonce(account, status, code):
    body = refusal(code) if code else b"<html>502</html>"
    with Answers((status, {"x-acs-retry-after": "10"}, body), (200, {}, b"{}")) as server:
        assert call(server.url, account).body == b"{}"

    assert len(set(server.nonces)) == 2


def test_a_nonce_that_is_refused_twice_is_no_accident(account):
    with (
        Answers((400, {}, refusal("SignatureNonceUsed"))) as server,
        pytest.raises(Refused, match="SignatureNonceUsed"),
    ):
        call(server.url, account)

    assert len(server.nonces) == 2


def test_throttling_without_end_says_to_wait(account, monkeypatch):
    monkeypatch.setattr("pipeline.extract.client._TRIES_THROTTLED", 3)
    answer = (400, {"x-acs-retry-after": "1"}, refusal("Throttling.User"))
    with Answers(answer) as server, pytest.raises(StillThrottled, match="kept throttling account 'default'"):
        call(server.url, account)

    assert len(server.nonces) == 3


def test_an_account_that_is_only_throttled_is_given_up_in_time(account):
    answer = (400, {"x-acs-retry-after": "50"}, refusal("Throttling.User"))
    began = time.monotonic()
    with Answers(answer) as server, pytest.raises(StillThrottled, match=r"asks for 0 s of quiet|without one answer"):
        call(server.url, account, throttled_seconds=0.2)

    assert 0.1 < time.monotonic() - began < 2
    assert 2 <= len(server.nonces) < 12


@pytest.mark.parametrize("asked", ["9" * 400, "9" * 5_000, "999999999999"])
def test_a_wait_longer_than_any_number_is_a_long_wait(account, asked):
    answer = (429, {"x-acs-retry-after": asked}, refusal("Throttling.User"))
    with Answers(answer) as server, pytest.raises(StillThrottled, match="s of quiet"):
        call(server.url, account)

    assert len(server.nonces) == 1


def test_a_request_id_that_is_no_text_can_still_be_written(account):
    with Answers((200, {"x-acs-request-id": "R\xff\xfe1"}, b"{}")) as server:
        request_id = call(server.url, account).request_id

    assert request_id is not None
    assert request_id.encode().startswith(b"R")


@pytest.mark.parametrize("length", [0, 5_000])
def test_throttling_under_a_status_of_success_is_throttling(account, length):
    said = refusal("Throttling.User") + b" " * length
    with Answers((200, {}, said), (200, {}, b"{}")) as server:
        assert call(server.url, account).body == b"{}"

    assert len(server.nonces) == 2


def test_a_quota_by_the_minute_is_outlived():
    assert THROTTLED_SECONDS >= 60


def test_an_answer_in_between_begins_the_time_of_throttling_anew(account):
    busy = (400, {"x-acs-retry-after": "60"}, refusal("Throttling.User"))

    async def work(url: str) -> list[int | None]:
        async with EnsApi(url, rate=None, throttled_seconds=0.15) as api:
            return [(await api.call(account, {}, lambda _: None)).status for _ in range(4)]

    with Answers(*[busy, (200, {}, b"{}")] * 4) as server:
        assert run_blocking(lambda: work(server.url)) == [200] * 4
    assert len(server.nonces) == 8


@pytest.mark.parametrize("rate", [float("nan"), float("inf"), -1.0])
def test_a_rate_that_is_no_number_of_calls_is_refused_by_its_name(rate):
    with pytest.raises(BadSetting, match=f"rate must be .* not {rate}"):
        EnsApi(rate=rate)


def test_a_wrong_clock_is_named(account):
    with (
        Answers((400, {}, refusal("InvalidTimeStamp.Expired"))) as server,
        pytest.raises(ClockIsWrong, match="set the clock"),
    ):
        call(server.url, account)


@pytest.mark.parametrize(
    ("status", "code", "what"),
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
def test_a_code_says_what_to_do_whatever_the_status(status, code, what):
    assert classify(status, code) == what


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
def test_an_endpoint_that_makes_no_sense_or_is_not_safe_is_refused(given):
    with pytest.raises(BadSetting, match="endpoint"):
        endpoint_url(given)


def test_a_proxy_of_the_environment_is_used_and_netrc_adds_nothing(account, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("default login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("no_proxy", "elsewhere.example")
    with Answers((200, {}, b"{}")) as proxy:  # the name leads nowhere: what answers is the proxy
        monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//user:word@"))

        assert call("http://ens.example", account, allow_plain_http=True).body == b"{}"
        assert probe("http://ens.example", allow_plain_http=True).error is None
    assert proxy.words_to_a_proxy == ["Basic dXNlcjp3b3Jk"]


def test_no_proxy_stands_before_this_machine_or_where_none_is_wanted(serve, account, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "ens.example")

    assert call(serve(images=1).url, account).status == 200
    assert "ens.example" in str(probe("http://ens.example", allow_plain_http=True).error)  # asked itself: no such name


def test_a_proxy_of_a_kind_that_nobody_understands_is_named_without_its_password(account, monkeypatch):
    monkeypatch.setenv("https_proxy", "socks5://user:word@127.0.0.1:9")

    with pytest.raises(BadSetting, match=r"proxy of kind 'socks5'.*NO_PROXY=ens.example") as error:
        call("ens.example", account)
    assert "word" not in str(error.value)


def test_calls_come_no_faster_than_the_pace():
    async def work() -> float:
        pace = RateLimiter(100)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.gather(*(pace.turn() for _ in range(21)))
        return loop.time() - began

    assert asyncio.run(work()) >= 0.2


class Clock:
    """Time that passes when it is told to."""

    def __init__(self, monkeypatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("pipeline.extract.client.time.monotonic", lambda: self.now)

    def turn(self, pace: RateLimiter) -> None:
        """One call is sent now."""
        with contextlib.suppress(StopIteration):
            pace.turn().send(None)


@pytest.fixture
def clock(monkeypatch) -> Clock:
    return Clock(monkeypatch)


@pytest.mark.usefixtures("clock")
def test_a_burst_of_throttling_halves_the_pace_once():
    pace = RateLimiter(16)
    for sent in (999.0, 999.5, 1000.0, 1000.9):
        pace.throttled(sent)

    assert pace.rate == 8


def test_throttling_at_the_new_pace_halves_it_again(clock):
    pace = RateLimiter(16)
    pace.throttled(1000.0)
    clock.now = 1002.0
    pace.throttled(1001.5)

    assert pace.rate == 4


def test_the_pace_rises_by_a_tenth_every_ten_quiet_seconds_up_to_its_limit(clock):
    pace = RateLimiter(16)
    pace.throttled(1000.0)
    seen = []
    for _ in range(9):
        clock.now += 10
        clock.turn(pace)
        seen.append(round(pace.rate or 0, 2))

    assert seen == [8.8, 9.68, 10.65, 11.71, 12.88, 14.17, 15.59, 16, 16]


def test_a_rise_does_not_let_a_burst_halve_the_pace_twice(clock):
    pace = RateLimiter(16)
    clock.now = 1010.0
    pace.throttled(1009.9)
    clock.now = 1020.0
    clock.turn(pace)
    pace.throttled(1010.5)

    assert round(pace.rate or 0, 2) == 8.8


def test_without_a_limit_the_first_throttling_starts_from_what_was_sent_in_the_last_second(clock):
    busy, idle = RateLimiter(None), RateLimiter(None)
    for _ in range(100):
        clock.turn(busy)
    for pace in (busy, idle):
        pace.throttled(1000.0)

    assert (busy.rate, idle.rate) == (50, 10)  # one call that is throttled does not bring all to a halt


def test_a_pace_below_the_slowest_is_not_raised_by_throttling():
    pace = RateLimiter(0.1)
    pace.throttled(1000.0)

    assert pace.rate == 0.1


def test_the_pace_never_comes_to_a_halt(clock):
    pace = RateLimiter(1)
    for _ in range(10):
        clock.now += 5
        pace.throttled(clock.now)

    assert pace.rate == 0.2


def test_a_service_that_asks_for_a_long_rest_is_not_waited_for(account):
    answer = (400, {"x-acs-retry-after": "600000"}, refusal("Throttling.User"))
    with Answers(answer) as server, pytest.raises(StillThrottled, match="asks for 600 s of quiet"):
        call(server.url, account)

    assert len(server.nonces) == 1


def test_the_time_that_the_service_asks_for_is_waited(account):
    tries: list[Attempt] = []
    answer = (400, {"x-acs-retry-after": "150"}, refusal("Throttling.User"))
    with Answers(answer, (200, {}, b"{}")) as server:
        call(server.url, account, tries, back_off_seconds=30)

    assert 0.15 <= tries[1].waited_seconds < 30


def test_a_refusal_whose_message_is_no_text_is_classified_all_the_same(account):
    body = b'{"Code": "NoPermission", "Message": {"zh": 1}, "RequestId": 7}'
    with (
        Answers((400, {}, body)) as server,
        pytest.raises(Refused, match=r"NoPermission: \{'zh': 1\}.*grant it in RAM"),
    ):
        call(server.url, account)


def test_a_refusal_without_a_message_is_told(account):
    with Answers((400, {}, b'{"Code": "Odd", "Message": " "}')) as server, pytest.raises(Refused, match="no message"):
        call(server.url, account)


def test_a_page_that_quotes_a_secret_is_kept_without_it():
    secret, token = "a secret of thirty characters!", "a/token/of/some/length"
    body = b"<html>" + secret.encode() + b" " + token.encode() + b" " + token.replace("/", "\\/").encode()
    with Answers((200, {}, body)) as server:
        seen = call(server.url, key_account("prod", "id", secret, token))

    assert seen.body == b"<html>*** *** ***"


class Refreshed:
    """A provider whose credentials are good from the second time on, and how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def provider(self) -> Any:
        self.asked += 1
        from alibabacloud_credentials.provider import StaticSTSCredentialsProvider

        token = "new" if self.asked > 1 else "old"
        return StaticSTSCredentialsProvider(
            access_key_id="emulator", access_key_secret="emulator", security_token=token
        )


def test_an_expired_token_is_refreshed_once_for_all_calls_under_way(account, monkeypatch):
    vault = Refreshed()
    monkeypatch.setattr(account, "_make_provider", vault.provider)
    keys = {"emulator": Key("emulator", living_account(images=1), security_token="new")}
    with Endpoint(keys, latency_ms=20) as endpoint:
        account.resolve()

        async def work() -> list[Attempt]:
            async with EnsApi(endpoint.url, workers=8, rate=None) as api:
                return await asyncio.gather(*(api.call(account, ONE_IMAGE, lambda _: None) for _ in range(8)))

        assert [seen.status for seen in run_blocking(work)] == [200] * 8

    assert vault.asked == 2


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


def test_a_profile_is_that_profile_alone_even_where_the_environment_holds_keys(tmp_path):
    (tmp_path / ".aliyun").mkdir()
    profiles = [
        {"name": "prod", "mode": "AK", "access_key_id": "from-file", "access_key_secret": "s"},
        {"name": "test", "mode": "StsToken", "access_key_id": "sts", "access_key_secret": "s", "sts_token": "t"},
    ]
    (tmp_path / ".aliyun" / "config.json").write_text(json.dumps({"current": "test", "profiles": profiles}))

    both = "print(profile_account('prod').resolve().id, profile_account('test').resolve().token)"
    assert resolved(tmp_path, f"{both}; print(environment_account().resolve().id)", **KEYS) == "from-file t\nfrom-env\n"
    assert resolved(tmp_path, "print(environment_account().resolve().id)") == "sts\n"


def test_keys_in_the_environment_are_read_as_the_vendors_chain_reads_them(tmp_path):
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


def test_keys_in_the_environment_need_no_chain_to_be_imported(tmp_path):
    code = "environment_account().resolve(); import sys; print('alibabacloud_credentials' in sys.modules)"
    assert resolved(tmp_path, code, **KEYS) == "False\n"


def test_a_profile_without_a_name_is_refused():
    with pytest.raises(BadSetting, match="name is empty"):
        profile_account("")


def test_missing_credentials_are_named_with_what_to_do_and_the_sdk_prints_nothing(tmp_path):
    code = "try: {}.resolve()\nexcept Exception as error: print(type(error).__name__, error)"
    tries = (code.format(account) for account in ("environment_account()", "profile_account('prod')"))
    chain, profile = resolved(tmp_path, "\n".join(tries)).splitlines()

    assert chain.startswith("NoCredentials no credentials for account 'default'")
    assert profile.startswith("NoCredentials no credentials for account 'prod'")
    assert "ALIBABA_CLOUD_ACCESS_KEY_ID" in chain
    assert "aliyun configure --profile prod" in profile
    assert "Traceback" not in chain + profile


def test_an_empty_secret_is_no_secret():
    with pytest.raises(NoCredentials):
        key_account("default", "id", "").resolve()


def test_a_running_event_loop_is_no_hindrance():
    async def notebook() -> int:
        async def work() -> int:
            await asyncio.sleep(0)
            return 7

        return run_blocking(work)

    assert asyncio.run(notebook()) == 7


def test_what_comes_of_work_is_never_spelled_out():
    class Large:
        def __repr__(self) -> str:
            raise AssertionError

    async def work() -> Large:
        await asyncio.sleep(0)
        return Large()

    assert isinstance(run_blocking(work), Large)


def test_this_instant_is_utc_without_a_zone():
    from pipeline.extract.attempt import utc_now

    assert utc_now().tzinfo is None
    assert abs(utc_now().replace(tzinfo=dt.UTC) - dt.datetime.now(dt.UTC)) < dt.timedelta(seconds=5)
