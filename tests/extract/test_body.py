"""One answer is bounded: in the bytes received and unpacked, in time, and in what is kept of it."""

import asyncio
import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipeline.credentials import Account
from pipeline.errors import BadSetting, EnsImagesError, Refused
from pipeline.extract.attempt import Attempt
from pipeline.extract.body import START_BYTES
from pipeline.extract.client import EnsApi
from pipeline.extract.event_loop import run_blocking
from pipeline.extract.response import read_page
from pipeline.extract.retry import RetryPolicy
from pipeline.resources.images import IMAGES_RESOURCE

LIST_IMAGES = IMAGES_RESOURCE.action
OK = b"HTTP/1.1 200 OK\r\n"
GZIP = OK + b"Content-Encoding: gzip\r\n"


def attempts_of(url: str, account: Account, **options: Any) -> tuple[list[Attempt], EnsImagesError | None]:
    """Call once: every attempt, and the error that ended the call."""
    attempts: list[Attempt] = []
    retry = RetryPolicy(attempts_without_response=1, back_off_seconds=0.001)

    async def work() -> None:
        async with EnsApi(url, rate=None, **{"retry": retry, "max_answer_mib": 1, **options}) as api:
            await api.call(account, LIST_IMAGES, {"PageNumber": "1", "PageSize": "50"}, attempts.append)

    try:
        run_blocking(work)
    except EnsImagesError as error:
        return attempts, error
    return attempts, None


@pytest.fixture
def answering() -> Iterator[Callable[[bytes], str]]:
    """Serve the given bytes to every request, then close the connection: what no HTTP server sends."""
    listeners: list[socket.socket] = []

    def answer(listener: socket.socket, content: bytes) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # the test is over
            with connection:
                connection.recv(65_536)
                connection.sendall(content)

    def serve_bytes(content: bytes) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        threading.Thread(target=answer, args=(listener, content), daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield serve_bytes
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("endless", "its body is larger than 1 MiB received and was not read further"),
        (
            "gzip-bomb:count=8000",
            "its body is larger than 1 MiB unpacked and was not read further",
        ),
    ],
)
def test_a_body_that_is_too_large_is_unusable_and_its_start_is_kept(serve, account, fault, reason):
    (attempt,), error = attempts_of(serve(faults=[fault]).url, account)

    assert (attempt.status, attempt.error_code, attempt.error) == (None, "TooLarge", f"HTTP status 200, but {reason}")
    assert attempt.body is not None
    assert len(attempt.body) == START_BYTES
    assert read_page(attempt.body).total == 3  # it is evidence and never a page: it has no status
    assert reason in str(error)


def test_a_body_up_to_the_limit_is_read_whole(serve, account):
    (attempt,), error = attempts_of(serve(faults=["gzip-bomb:count=3"]).url, account, max_answer_mib=4)

    assert (attempt.status, error) == (200, None)
    assert 3 << 20 < len(attempt.body or b"") < 4 << 20


@pytest.mark.parametrize("limit", [0, -1, float("nan"), float("inf")])
def test_an_impossible_limit_is_refused(limit):
    with pytest.raises(BadSetting, match="max_answer_mib must be"):
        EnsApi(max_answer_mib=limit)


def test_unpacking_lets_other_tasks_run_and_ends_at_the_deadline(serve, account):
    """1 GiB takes seconds to unpack; in one step it would hold up every other account, and the deadline."""
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            began = time.monotonic()
            await asyncio.sleep(0)
            longest = max(longest, time.monotonic() - began)

    async def work() -> None:
        watcher = asyncio.create_task(watch())
        options: Any = {"retry": RetryPolicy(attempts_without_response=1), "attempt_seconds": 0.3}
        async with EnsApi(endpoint.url, rate=None, max_answer_mib=2_000, **options) as api:
            await api.call(account, LIST_IMAGES, {"PageNumber": "1"}, attempts.append)
        watcher.cancel()

    attempts: list[Attempt] = []
    endpoint = serve(faults=["gzip-bomb"])
    with pytest.raises(EnsImagesError, match=r"Timeout: HTTP status 200, but after 0\.3 s only [\d,]+ of [\d,]+ bytes"):
        run_blocking(work)

    assert longest < 0.3
    assert (attempts[0].received_at_utc - attempts[0].sent_at_utc).total_seconds() < 1


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("silent:ms=700", "no answer within 0.2 s"),
        ("drip:count=100000,ms=100000000", r"HTTP status 200, but after 0\.2 s only 0 of [\d,]+ bytes of its body"),
    ],
)
def test_a_slow_answer_says_how_far_it_came_and_is_tried_three_times(serve, account, fault, reason):
    endpoint = serve(faults=[fault])
    retry = RetryPolicy(back_off_seconds=0.001)
    attempts, error = attempts_of(endpoint.url, account, attempt_seconds=0.2, retry=retry)

    assert [attempt.error_code for attempt in attempts] == ["Timeout"] * 3
    assert error is not None
    assert error.exit_code == 5
    with pytest.raises(EnsImagesError, match=f"^Timeout: {reason}"):
        raise error


@pytest.mark.parametrize(
    ("content", "code", "reason"),
    [
        (b"", "ServerDisconnectedError", "the connection was closed before an answer came"),
        (OK[:-1] + b"\nContent-", "ServerDisconnectedError", "the connection was closed within the headers"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "ClientResponseError", "what came is not an HTTP answer: Bad status line"),
        (OK + b"A: b\r\n" * 200, "ClientResponseError", "what came is not an HTTP answer: Too many headers"),
        (OK + b"Content-Length: 5000\r\n\r\n{}", "ClientPayloadError", "connection ended after 2 of 5,000 bytes"),
        (GZIP + b"\r\nnot gzip", "BadEncoding", "its gzip cannot be unpacked after 0 bytes: .*incorrect header"),
        (GZIP + b"\r\n" + gzip.compress(b"{}", mtime=0)[:-4], "BadEncoding", "its gzip ends early, after 2 bytes"),
        (OK + b"Content-Encoding: br\r\n\r\n{}", "BadEncoding", "its Content-Encoding is 'br', which was not"),
    ],
)
def test_the_reason_of_an_unusable_answer_is_one_readable_line(answering, account, content, code, reason):
    (attempt,), error = attempts_of(answering(content), account)

    assert (attempt.status, attempt.error_code) == (None, code)
    assert error is not None
    with pytest.raises(EnsImagesError, match=f"^{code}: .*{reason}.* — no usable answer from"):
        raise error
    assert "\n" not in str(error)


def test_what_came_of_an_unusable_answer_is_kept(answering, account):
    cut = attempts_of(answering(OK + b"Content-Length: 5000\r\n\r\n{}"), account)[0][0]
    not_packed = attempts_of(answering(GZIP + b"\r\n<html>"), account)[0][0]

    assert (cut.body, not_packed.body) == (b"{}", b"<html>")


def test_a_redirect_names_its_target_without_secrets(answering, account):
    content = b"HTTP/1.1 302 Found\r\nLocation: https://user:word@portal.example/login?ticket=secret#top\r\n\r\n"
    attempts, error = attempts_of(answering(content), account)

    assert isinstance(error, Refused)
    assert "a redirect to https://***@portal.example/login, which is not followed" in str(error)
    assert "check the endpoint" in str(error)
    assert not any(secret in f"{error} {attempts}" for secret in ("word", "ticket", "secret"))


def test_what_a_service_says_is_cut_to_a_readable_length(answering, account):
    long = b'{"Code":"%b","Message":"%b","RequestId":"%b"}' % (b"C" * 9_000, b"M " * 9_000, b"R" * 9_000)
    (attempt,), error = attempts_of(answering(b"HTTP/1.1 400 Bad\r\n\r\n" + long), account)

    assert attempt.body == long
    assert max(len(text or "") for text in (attempt.error_code, attempt.error, attempt.request_id)) <= 1_001
    assert len(str(error)) < 3_000


LARGE = b'{"Code":0,"Images":{"Image":[%b]},"TotalCount":"1","PageNumber":"1","PageSize":"50"}'


@pytest.mark.parametrize(
    ("items", "code", "reason"),
    [
        (b"{}," * 2_000_000 + b"{}", "TooLarge", "more than 150,000 values"),
        (b"[" * 6_000_000, "TooLarge", "more than 150,000 values"),
        (b'"' + b"\xff" * 6_000_000 + b'"', "NotJSON", "is not JSON: not UTF-8"),
        (b'"' + b"\\ud800" * 1_000_000 + b'"', "NotJSON", "is not JSON"),
    ],
)
def test_a_large_body_has_to_be_json_that_costs_little_memory(answering, account, items, code, reason):
    (attempt,), error = attempts_of(answering(OK + b"\r\n" + LARGE % items), account, max_answer_mib=64)

    assert (attempt.status, attempt.error_code, len(attempt.body or b"")) == (None, code, START_BYTES)
    assert reason in str(error)


def test_a_gzip_of_several_members_is_read_whole(serve, account):
    endpoint = serve(images=50)
    plain = attempts_of(endpoint.url, account)[0][0].body
    endpoint.faults = ["gzip-bomb:count=0"]
    several = attempts_of(endpoint.url, account)[0][0].body

    assert len(plain or b"") == len(several or b"") > 1_000
