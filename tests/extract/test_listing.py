"""A whole account, page by page: proven complete, or refused within bounds."""

import re
import subprocess
import sys
import textwrap
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.credentials import Account, key_account
from pipeline.emulator import Endpoint, Key, living_account
from pipeline.errors import (
    BadSetting,
    IncompleteListing,
    NoCredentials,
    OurMistake,
    OutOfTime,
    Refused,
    StillThrottled,
    Unreachable,
)
from pipeline.extract.bounds import Bounds
from pipeline.extract.claim import RULE, is_proven
from pipeline.extract.client import EnsApi
from pipeline.extract.completeness import evidence
from pipeline.extract.listing import extract
from pipeline.extract.reader import Listing, Reader
from pipeline.extract.retry import RetryPolicy
from pipeline.extract.time_limit import Estimate, TimeLimit

if TYPE_CHECKING:
    from pipeline.extract.response import Answer


def read(endpoint: Endpoint, account: Account, **options: Any) -> Listing:
    (listing,) = extract([account], lambda *_: None, endpoint=endpoint.url, rate=None, **options)
    return listing


QUICK = Bounds(settle_seconds=0, pause_seconds=0.001, retry=RetryPolicy(back_off_seconds=0.002))


def ids(listing: Listing) -> list[str]:
    return [image_id for page in listing.last_pass for image_id in page.ids]


@pytest.mark.parametrize(
    ("images", "calls"),
    [(0, 1), (1, 1), (49, 1), (50, 4), (51, 5), (100, 6), (1037, 43)],
)
def test_an_unchanging_account_is_verified_with_the_promised_number_of_calls(serve, account, images, calls):
    endpoint = serve(images=images)
    listing = read(endpoint, account)

    assert (listing.level, listing.error, len(ids(listing))) == ("verified", None, images)
    assert endpoint.calls == calls
    assert calls <= 2 * (images // 50 + 1) + 1


def test_an_unexpected_error_affects_only_its_account(serve, account, monkeypatch):
    endpoint = serve(images=3)
    other = key_account("other", "emulator", "emulator")
    call = EnsApi.call

    async def breaks(self, account, *more):
        if account.label == "other":
            raise OverflowError("unforeseen")
        return await call(self, account, *more)

    monkeypatch.setattr(EnsApi, "call", breaks)
    listing, broken = extract([account, other], lambda *_: None, endpoint=endpoint.url, rate=None)

    assert (listing.level, listing.error) == ("verified", None)
    assert isinstance(broken.error, OurMistake)
    assert "OverflowError: unforeseen" in str(broken.error)


def test_a_full_disk_while_landing_ends_the_run(serve, account):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        extract([account], full, endpoint=serve(images=3).url, rate=None)


def test_ids_are_those_of_the_account_in_its_order(serve, account):
    emulated = living_account(images=1037, seed=5)

    assert ids(read(serve(emulated), account)) == [image["ImageId"] for image in emulated.images_on(0)]


def test_the_level_counted_takes_one_pass(serve, account):
    endpoint = serve(images=123)

    assert read(endpoint, account, level="counted").level == "counted"
    assert endpoint.calls == 3


def test_one_page_is_verified_whatever_level_was_requested(serve, account):
    assert read(serve(images=9), account, level="unproven").level == "verified"


def test_the_second_pass_starts_after_the_last_answer_of_the_first(serve, account):
    answers = read(serve(images=123, latency_ms=5), account).answers
    first = [answer for answer in answers if answer.pass_number == 1]
    second = [answer for answer in answers if answer.pass_number == 2]

    assert max(answer.received_at_utc for answer in first) <= min(answer.sent_at_utc for answer in second)


def test_every_answer_is_landed_with_its_bytes_in_the_order_of_arrival(serve, account):
    landed: list[tuple[Answer, bytes | None]] = []
    endpoint = serve(images=123)
    (listing,) = extract(
        [account], lambda answer, body: landed.append((answer, body)), endpoint=endpoint.url, rate=None
    )

    assert [answer for answer, _ in landed] == listing.answers
    assert [body is not None for _, body in landed] == [True] * 7
    assert {truth.request_id for truth in endpoint.answers} == {answer.request_id for answer in listing.answers}


def test_an_account_that_fails_does_not_affect_the_others():
    keys = {f"key{n}": Key("secret", living_account(images=60 + n, seed=n)) for n in range(3)}
    with Endpoint(keys) as endpoint:
        accounts = [key_account(f"account{n}", f"key{n}", "secret" if n != 1 else "wrong") for n in range(3)]
        accounts.append(key_account("nobody", "", ""))
        listings = extract(accounts, lambda *_: None, endpoint=endpoint.url, rate=None)

    assert [listing.account for listing in listings] == ["account0", "account1", "account2", "nobody"]
    assert [type(listing.error) for listing in listings] == [type(None), Refused, type(None), NoCredentials]
    assert [len(ids(listing)) for listing in listings] == [60, 0, 62, 0]


def test_filters_are_sent_with_every_call(serve, account):
    emulated = living_account(images=200, seed=3)
    name = emulated.images_on(0)[7]["ImageName"]
    wanted = {image["ImageId"] for image in emulated.images_on(0) if name in image["ImageName"]}

    assert set(ids(read(serve(emulated), account, filters={"ImageName": name}))) == wanted


def test_the_timeout_ends_the_reading(serve, account):
    listing = read(serve(images=500, latency_ms=200), account, workers=1, timeout_seconds=0.5)

    assert isinstance(listing.error, OutOfTime)
    assert listing.ended_passes == 0
    assert re.search(
        r"in the 0.5 s of --timeout: [12] of 10 pages of pass 1 were read: raise --timeout$", str(listing.error)
    )


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        (
            ["503"],
            r"no usable answer came from http://.*; the last failure was ServiceUnavailable: .*: check that it is",
        ),
        (["html"], r"no usable answer came from http://.*; the last failure was no page: a page of HTML"),
        (["throttling:ms=100"], r"nothing was read; the last failure was Throttling.User: .*: lower --rate"),
        (["503:page=2"], r"pages of pass 1 were read; the last failure was ServiceUnavailable: .*: raise --timeout"),
    ],
)
def test_out_of_time_names_the_pages_read_and_the_last_failure(serve, account, faults, message):
    listing = read(serve(images=123, faults=faults), account, timeout_seconds=0.4)

    assert isinstance(listing.error, OutOfTime)
    assert re.search(message, str(listing.error))


def test_out_of_time_at_a_closed_port_does_not_advise_a_longer_timeout(account):
    (listing,) = extract([account], lambda *_: None, endpoint="http://127.0.0.1:9", timeout_seconds=0.3)

    assert isinstance(listing.error, OutOfTime)
    assert "no usable answer came from http://127.0.0.1:9; the last failure was ClientConnectorError" in str(
        listing.error
    )
    assert "raise" not in str(listing.error)


def test_a_listing_that_goes_on_beyond_what_its_pages_take_is_out_of_time(serve, account):
    """The account grows with every answer, and passes are not limited: there is progress, and never an end."""
    bounds = replace(QUICK, passes=10_000, seconds_after_two=1e9, listing_passes=4, listing_seconds=0.3)
    began = time.monotonic()
    (listing,) = extract(
        [account],
        lambda *_: None,
        endpoint=serve(images=123, faults=["insertions"]).url,
        rate=200,
        bounds=bounds,
    )

    assert isinstance(listing.error, OutOfTime)
    assert listing.error.exit_code == 5
    assert re.search(
        r"within 0\.\d+ s, the limit for \d announced pages at 200 calls a second: .* sets another limit$",
        str(listing.error),
    )
    assert 0.3 < time.monotonic() - began < 3


def test_the_users_timeout_replaces_the_limit_of_the_announced_pages(serve, account):
    bounds = replace(QUICK, listing_passes=0, listing_seconds=0.05)
    endpoint = serve(images=123, latency_ms=20)

    assert isinstance(read(endpoint, account, bounds=bounds).error, OutOfTime)
    assert read(endpoint, account, bounds=bounds, timeout_seconds=20).level == "verified"


def test_the_limit_counts_the_pages_of_every_account_that_shares_the_rate():
    limit = TimeLimit(["one", "two", "three"], 20, None, Bounds())
    limit.announce("one", 1_998)
    limit.announce("two", 2_001)
    limit.announce("one", 1_998)

    assert limit.estimate() == (200, 4 * 200 + 600)
    assert str(limit) == "23 min 20 s, the limit for 4,000 announced pages at 20 calls a second"


def test_a_listing_is_given_up_after_a_day_whatever_is_announced():
    limit = TimeLimit(["one"], None, None, Bounds())
    limit.announce("one", 10**12)

    assert limit.estimate().limit_seconds == 86_400


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_an_impossible_timeout_is_refused(account, seconds):
    with pytest.raises(BadSetting, match=f"timeout must be .* not {seconds}"):
        extract([account], lambda *_: None, timeout_seconds=seconds)


def test_progress_is_called_after_every_page(serve, account):
    calls: list[tuple[str, int, int, int | None]] = []
    estimates: list[Estimate] = []

    def progress(*now: Any) -> None:
        calls.append(now[:4])
        estimates.append(now[4])

    extract([account], lambda *_: None, endpoint=serve(images=123).url, rate=30, level="counted", progress=progress)

    assert estimates[0] == (0.1, 600.4)  # 3 pages
    assert calls == [("default", 1, 1, 3), ("default", 1, 2, 3), ("default", 1, 3, 3)]


@pytest.mark.parametrize("options", [{"workers": 0}, {"endpoint": "ftp://x"}])
def test_impossible_settings_are_refused_before_anything_is_sent(account, options):
    with pytest.raises(BadSetting):
        extract([account], lambda *_: None, **options)


def test_the_level_can_be_computed_again_from_the_answers(serve, account):
    listing = read(serve(images=123), account)
    assert listing.claim is not None
    assert is_proven(listing.answers, listing.claim, frozenset())
    proven = evidence(listing.answers, listing.ended_passes, rule=RULE, claim=listing.claim)
    assert (proven["certificate"], proven["pass_count"], proven["page_count"], proven["call_count"]) == (
        "verified",
        2,
        3,
        7,
    )
    assert (proven["total_count"], proven["proof"], proven["witness_here_count"]) == (123, "quiet", 123)
    first_of_last = next(answer for answer in listing.answers if (answer.pass_number, answer.page_number) == (2, 1))
    assert proven["observed_at_utc"] == first_of_last.received_at_utc
    assert Counter(answer.pass_number for answer in listing.answers) == {1: 3, 2: 4}


# ── bounds ───────────────────────────────────────────────────────────────────


def requests(listing: Listing) -> Counter[tuple[int, int]]:
    """How often each page of each pass was requested."""
    return Counter((answer.pass_number, answer.page_number) for answer in listing.answers)


def test_a_listing_that_cannot_be_proven_is_read_five_times(serve, account):
    listing = read(serve(images=60, faults=["wrong-total"]), account, bounds=QUICK)

    assert isinstance(listing.error, IncompleteListing)
    assert (listing.begun_passes, listing.ended_passes, listing.level) == (5, 5, "unproven")
    assert "was read 5 times and is not proven 'verified': 60 ids of 61 in the last pass" in str(listing.error)


@pytest.mark.parametrize(
    ("images", "faults", "message"),
    [
        (
            60,
            ["wrong-total"],
            r"5 of 10 pages contradict .*2 of pass 5: .* for 11\); waiting .* request id [0-9A-F-]{36} .* unproven",
        ),
        (123, ["empty:page=2"], r"5 of 15 pages contradict themselves \(page 2 of pass 5: it holds 0 images"),
        (
            123,
            ["no-total"],
            r"no TotalCount that is an integer; waiting does not help: report .*--certificate unproven",
        ),
        (123, ["missing-id:page=3"], r"1 image without an id, .*; --certificate counted publishes"),
        (123, ["object:page=2"], r"5 of 10 pages stayed unreadable \(page 2 of pass 5: not a listing.* are kept\)$"),
        (
            123,
            ["churn:page=2"],
            r"changed while it was read \(other images than the pass before: 4 times; .*: try again when",
        ),
    ],
)
def test_the_error_distinguishes_a_changing_account_from_a_contradictory_service(
    serve, account, images, faults, message
):
    listing = read(serve(images=images, faults=faults), account, workers=1, bounds=QUICK)

    assert isinstance(listing.error, IncompleteListing)
    assert re.search(message, str(listing.error)), listing.error


def test_a_count_that_differs_between_pages_is_told(serve, account):
    endpoint = serve(images=123, faults=["wrong-total:page=1"])
    listing = read(endpoint, account, level="counted", bounds=QUICK)

    assert isinstance(listing.error, IncompleteListing)
    assert re.search(
        r"does not change, and .*the same 123 ids again, TotalCount 123 and 124; waiting", str(listing.error)
    )
    assert read(endpoint, account, bounds=QUICK).level == "verified"  # by the other pages: page 1 is no instant


def test_a_pass_that_can_no_longer_prove_anything_ends(serve, account):
    endpoint = serve(images=123, latency_ms=5, faults=["insertions:count=60"])
    listing = read(endpoint, account, level="counted", bounds=replace(QUICK, unprovable_seconds=0.05))

    assert isinstance(listing.error, IncompleteListing)
    assert listing.begun_passes == 5
    assert (
        max(Counter(number for number, _ in requests(listing)).values()) < 40
    )  # pages_past_total, beyond the page count
    assert Bounds().passes * (Bounds().unprovable_seconds + 2) <= 75


def test_a_pass_over_an_account_that_grows_ends_soon_after_its_first_total(serve, account):
    listing = read(serve(images=123, faults=["insertions:count=60"]), account, bounds=replace(QUICK, passes=1))

    assert isinstance(listing.error, IncompleteListing)
    assert 60 < max(page for _, page in requests(listing)) <= 5 + QUICK.pages_past_total


def test_a_growing_account_is_read_to_the_end_if_nothing_must_be_proven(serve, account):
    endpoint = serve(images=123, faults=["insertions:times=3"])
    listing = read(endpoint, account, level="unproven", workers=1, bounds=replace(QUICK, unprovable_seconds=-1))

    assert (listing.level, listing.error, len(ids(listing))) == ("unproven", None, 126)


def test_an_endlessly_throttled_account_is_given_up(serve, account):
    endpoint = serve(images=123, faults=["throttling:page=2,ms=20"])
    listing = read(endpoint, account, bounds=replace(QUICK, retry=replace(QUICK.retry, throttled_seconds=0.3)))

    assert isinstance(listing.error, StillThrottled)
    assert endpoint.calls < 30


def test_no_pass_starts_too_long_after_the_second_ended(serve, account):
    endpoint = serve(images=60, faults=["wrong-total"])

    assert read(endpoint, account, bounds=Bounds(seconds_after_two=-1, pause_seconds=0)).begun_passes == 2


def test_a_contradictory_page_is_requested_three_times_and_then_accepted(serve, account):
    listing = read(serve(images=123, faults=["short:page=2"]), account, level="unproven", bounds=QUICK)

    assert requests(listing) == {(1, 1): 1, (1, 2): 3, (1, 3): 1}
    assert [answer.error for answer in listing.answers if answer.page_number == 2] == [
        "it holds 49 images where TotalCount 123 calls for 50"
    ] * 3


def test_the_time_for_repeated_requests_is_bounded(serve, account):
    endpoint = serve(images=123, faults=["short"])
    listing = read(endpoint, account, level="unproven", workers=1, bounds=Bounds(repeat_seconds=-1))

    assert set(requests(listing).values()) == {1}


def test_an_unreadable_page_breaks_its_pass_and_the_next_starts_anew(serve, account):
    listing = read(serve(images=123, faults=["cut:page=2,times=3"]), account, workers=1, bounds=QUICK)

    assert (listing.level, listing.error, listing.begun_passes) == ("verified", None, 3)
    assert listing.claim is not None
    assert is_proven(listing.answers, listing.claim, frozenset())


def test_two_equal_passes_verify_with_a_broken_one_between_them(serve, account):
    listing = read(serve(images=123, faults=["cut:page=2,times=3,after=3"]), account, workers=1, bounds=QUICK)

    assert (listing.level, listing.begun_passes) == ("verified", 3)
    assert [answer.page for answer in listing.answers if answer.pass_number == 2 and answer.page_number == 2] == [
        None
    ] * 3


def test_a_page_that_is_never_readable_is_named_in_the_error(serve, account):
    listing = read(serve(images=123, faults=["object:page=2"]), account, bounds=QUICK)

    assert "read 5 times" in str(listing.error)
    assert "pages stayed unreadable (page 2 of pass 5: not a listing in JSON" in str(listing.error)
    assert (listing.level, evidence(listing.answers, listing.ended_passes)["certificate"]) == (None, None)


def test_a_page_that_fails_ends_the_pass_for_all_workers(serve, account):
    listing = read(serve(images=1037, faults=["500:page=2"]), account, workers=8, bounds=QUICK)

    assert isinstance(listing.error, Unreachable)
    assert listing.ended_passes == 0


def test_an_empty_account_with_a_null_list_is_verified_after_a_repeated_request(serve, account):
    listing = read(serve(images=0, faults=["null"]), account, bounds=QUICK)

    assert (listing.level, listing.error, len(listing.answers)) == ("verified", None, 2)


def test_a_service_that_always_sends_the_first_page_is_not_proven(serve, account):
    listing = read(serve(images=123, faults=["repeated:page=2", "repeated:page=3,count=2"]), account, bounds=QUICK)

    assert isinstance(listing.error, IncompleteListing)
    assert "50 ids of 123" in str(listing.error)
    assert max(page for _, page in requests(listing)) == 3


def test_a_pass_without_a_total_ends_at_a_page_without_new_images(serve, account):
    faults = ["no-total", *(f"repeated:page={page},count={page - 1}" for page in range(3, 9))]
    listing = read(serve(images=500, faults=faults), account, level="unproven", bounds=QUICK)

    assert (listing.level, len(set(ids(listing)))) == ("unproven", 100)
    assert max(page for _, page in requests(listing)) == 3


def test_a_pass_without_a_total_ends_after_the_pages_of_the_bounds(serve, account):
    bounds = replace(QUICK, pages_without_total=3)
    listing = read(serve(images=500, faults=["no-total"]), account, level="unproven", bounds=bounds)

    assert (listing.level, max(page for _, page in requests(listing))) == ("unproven", 3)


@pytest.mark.parametrize("size", [1, 20, 49])
def test_a_clamped_page_size_is_accepted_for_the_whole_listing(serve, account, size):
    endpoint = serve(images=123, faults=[f"clamped:count={size}"])
    listing = read(endpoint, account)
    pages = -(-123 // size) + (123 % size == 0)

    assert (listing.level, len(ids(listing))) == ("verified", 123)
    assert 2 * pages <= len(listing.answers) <= 2 * pages + 1  # less where the proof was looked for in time


def test_a_page_size_cut_in_mid_pass_is_requested_from_the_next_pass_on(serve, account):
    listing = read(serve(images=123, faults=["clamped:page=2,count=20"]), account, bounds=QUICK)

    assert (listing.level, listing.begun_passes, len(ids(listing))) == ("verified", 3, 123)


def test_a_recovered_answer_does_not_weaken_the_proof(serve, account):
    faults = ["wrong-total:page=1,times=1,after=3", "empty:page=2,times=1"]
    listing = read(serve(images=123, faults=faults), account, workers=1, bounds=QUICK)
    proven = evidence(listing.answers, listing.ended_passes, rule=RULE, claim=listing.claim)

    assert (listing.level, listing.begun_passes, proven["proof"]) == ("verified", 2, "instant")
    page_one = [answer for answer in listing.answers if (answer.pass_number, answer.page_number) == (2, 1)]
    assert [answer.page and answer.page.total for answer in page_one] == [124, 123, 123]
    assert (proven["observed_at_utc"], proven["first_request_id"]) == (
        page_one[1].received_at_utc,
        page_one[1].request_id,
    )


# ── throttling, signals, errors while landing ────────────────────────────────


def test_an_account_limited_to_twenty_calls_a_second_is_read_to_the_end(serve, account):
    listing = read(serve(images=2000, qps=20), account)

    assert (listing.level, listing.error, len(ids(listing))) == ("verified", None, 2000)


STOPPED = """
import asyncio, os, signal, threading
from pipeline.emulator import Endpoint, Key, living_account
from pipeline.credentials import key_account
from pipeline.extract.listing import extract

signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))

def land(answer, body):
    if len(landed) == 3:
        os.kill(os.getpid(), signal.{signal})
    landed.append(answer)

def read():
    extract([key_account("default", "emulator", "emulator")], land, endpoint=endpoint.url, rate=None)

async def notebook():
    read()

landed = []
loop = asyncio.new_event_loop()  # as a notebook's: Ctrl-C is an error in the main thread
with Endpoint({{"emulator": Key("emulator", living_account(images=5000))}}, latency_ms=50) as endpoint:
    try:
        {read}
    except KeyboardInterrupt:
        print("stopped", len(landed) < 40, threading.active_count())
loop.close()
"""


@pytest.mark.usefixtures("default_sigint")
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("SIGINT", "read()"),
        ("SIGTERM", "read()"),
        ("SIGINT", "loop.run_until_complete(notebook())"),
    ],
)
def test_a_signal_ends_the_reading_at_once_and_prints_nothing(name, read):
    code = textwrap.dedent(STOPPED).format(signal=name, read=read)
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, check=False, timeout=60
    )

    assert done.stdout == "stopped True 2\n"  # this thread and the emulator's: no reader is left
    assert done.stderr == ""


def test_an_error_while_landing_ends_every_reader_and_reaches_the_caller(serve, account):
    def full(*_: object) -> None:
        raise OSError("no space left on device")

    endpoint = serve(images=500)
    with pytest.raises(OSError, match="no space"):
        extract([account], full, endpoint=endpoint.url, rate=None)


def test_a_listing_that_ended_with_an_error_claims_no_proof(serve, account, monkeypatch):
    """A proof may be found while other pages are under way, and the time end before it is computed with them."""
    endpoint = serve(images=123)
    claim = read(endpoint, account).claim
    assert claim is not None

    async def ends_after_a_proof(reader):
        reader._listing.claim = claim  # noqa: SLF001
        raise IncompleteListing("no time left")

    monkeypatch.setattr(Reader, "_read", ends_after_a_proof)
    listing = read(endpoint, account)

    assert isinstance(listing.error, IncompleteListing)
    assert listing.claim is None
