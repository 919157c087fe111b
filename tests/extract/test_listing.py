"""A whole account, page by page, with the proof that nothing is missing."""

import re
import subprocess
import sys
import textwrap
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
from pipeline.extract.client import EnsApi
from pipeline.extract.completeness import believed, certify, evidence
from pipeline.extract.listing import extract
from pipeline.extract.reader import _PAGES_WITHOUT_TOTAL, Bounds, Listing, _Pass

if TYPE_CHECKING:
    from pipeline.extract.response import Answer


def listing(endpoint: Endpoint, account: Account, **options: Any) -> Listing:
    (one,) = extract([account], lambda *_: None, endpoint=endpoint.url, rate=None, **options)
    return one


QUICK = Bounds(pause_seconds=0.001, back_off_seconds=0.002)


def ids(one: Listing) -> list[str]:
    return [image_id for page in one.last_pass for image_id in page.ids]


@pytest.mark.parametrize(
    ("images", "calls"),
    [(0, 1), (1, 1), (49, 1), (50, 2), (51, 4), (100, 6), (1037, 42)],
)
def test_a_quiet_account_is_verified_and_costs_no_more_calls_than_promised(serve, account, images, calls):
    endpoint = serve(images=images)
    one = listing(endpoint, account)

    assert (one.level, one.error, len(ids(one))) == ("verified", None, images)
    assert endpoint.calls == calls
    assert calls <= 2 * (max(1, -(-images // 50)) + 1)


def test_what_nobody_had_thought_of_costs_its_account_alone(serve, account, monkeypatch):
    endpoint = serve(images=3)
    other = key_account("other", "emulator", "emulator")
    call = EnsApi.call

    async def breaks(self, whose, *more):
        if whose.label == "other":
            raise OverflowError("nobody had thought of it")
        return await call(self, whose, *more)

    monkeypatch.setattr(EnsApi, "call", breaks)
    one, broken = extract([account, other], lambda *_: None, endpoint=endpoint.url, rate=None)

    assert (one.level, one.error) == ("verified", None)
    assert isinstance(broken.error, OurMistake)
    assert "OverflowError: nobody had thought of it" in str(broken.error)


def test_pages_that_cannot_be_kept_end_the_run(serve, account):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        extract([account], full, endpoint=serve(images=3).url, rate=None)


def test_the_ids_are_those_of_the_account_in_its_order(serve, account):
    stock = living_account(images=1037, seed=5)

    assert ids(listing(serve(stock), account)) == [image["ImageId"] for image in stock.images_on(0)]


def test_counted_is_one_pass_where_that_is_what_was_asked_for(serve, account):
    endpoint = serve(images=123)

    assert listing(endpoint, account, level="counted").level == "counted"
    assert endpoint.calls == 3


def test_one_page_certifies_itself_whatever_was_asked_for(serve, account):
    assert listing(serve(images=9), account, level="unproven").level == "verified"


def test_the_second_pass_begins_after_the_last_answer_of_the_first(serve, account):
    answers = listing(serve(images=123, latency_ms=5), account).answers
    first = [answer for answer in answers if answer.pass_number == 1]
    second = [answer for answer in answers if answer.pass_number == 2]

    assert max(answer.received_at_utc for answer in first) <= min(answer.sent_at_utc for answer in second)


def test_every_answer_is_landed_in_the_order_it_came_with_its_bytes(serve, account):
    landed: list[tuple[Answer, bytes | None]] = []
    endpoint = serve(images=123)
    (one,) = extract([account], lambda answer, body: landed.append((answer, body)), endpoint=endpoint.url, rate=None)

    assert [answer for answer, _ in landed] == one.answers
    assert [body is not None for _, body in landed] == [True] * 6
    assert {truth.request_id for truth in endpoint.answers} == {answer.request_id for answer in one.answers}


def test_accounts_are_read_side_by_side_and_one_that_fails_costs_no_other():
    keys = {f"key{n}": Key("secret", living_account(images=60 + n, seed=n)) for n in range(3)}
    with Endpoint(keys) as endpoint:
        accounts = [key_account(f"account{n}", f"key{n}", "secret" if n != 1 else "wrong") for n in range(3)]
        accounts.append(key_account("nobody", "", ""))
        listings = extract(accounts, lambda *_: None, endpoint=endpoint.url, rate=None)

    assert [one.account for one in listings] == ["account0", "account1", "account2", "nobody"]
    assert [type(one.error) for one in listings] == [type(None), Refused, type(None), NoCredentials]
    assert [len(ids(one)) for one in listings] == [60, 0, 62, 0]


def test_the_filters_of_the_api_go_with_every_call(serve, account):
    stock = living_account(images=200, seed=3)
    name = stock.images_on(0)[7]["ImageName"]
    wanted = {image["ImageId"] for image in stock.images_on(0) if name in image["ImageName"]}

    assert set(ids(listing(serve(stock), account, filters={"ImageName": name}))) == wanted


def test_a_budget_of_time_ends_what_is_not_read_by_then(serve, account):
    one = listing(serve(images=500, latency_ms=200), account, workers=1, timeout_seconds=0.5)

    assert isinstance(one.error, OutOfTime)
    assert one.ended_passes == 0
    assert re.search(
        r"in the 0.5 s of --timeout: [12] of 10 pages of pass 1 were read: raise --timeout$", str(one.error)
    )


@pytest.mark.parametrize(
    ("faults", "says"),
    [
        (["503"], r"no usable answer came from http://.*; the last failure was ServiceUnavailable: .*: see that it is"),
        (["html"], r"no usable answer came from http://.*; the last failure was no page: a page of HTML"),
        (["throttling:ms=100"], r"nothing was read; the last failure was Throttling.User: .*: lower --rate"),
        (["503:page=2"], r"pages of pass 1 were read; the last failure was ServiceUnavailable: .*: raise --timeout"),
    ],
)
def test_out_of_time_says_how_far_it_came_and_what_went_wrong_last(serve, account, faults, says):
    one = listing(serve(images=123, faults=faults), account, timeout_seconds=0.4)

    assert isinstance(one.error, OutOfTime)
    assert re.search(says, str(one.error))


def test_out_of_time_where_nobody_listens_does_not_ask_for_more_time(account):
    (one,) = extract([account], lambda *_: None, endpoint="http://127.0.0.1:9", timeout_seconds=0.3)

    assert isinstance(one.error, OutOfTime)
    assert "no usable answer came from http://127.0.0.1:9; the last failure was ClientConnectorError" in str(one.error)
    assert "raise" not in str(one.error)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_a_timeout_that_is_no_time_is_refused(account, seconds):
    with pytest.raises(BadSetting, match=f"timeout must be .* not {seconds}"):
        extract([account], lambda *_: None, timeout_seconds=seconds)


def test_progress_is_told_page_by_page(serve, account):
    told: list[tuple[str, int, int, int | None]] = []
    listing(serve(images=123), account, level="counted", progress=lambda *now: told.append(now))

    assert told == [("default", 1, 1, 3), ("default", 1, 2, 3), ("default", 1, 3, 3)]


@pytest.mark.parametrize("options", [{"workers": 0}, {"endpoint": "ftp://x"}])
def test_settings_that_make_no_sense_are_refused_before_anything_is_sent(account, options):
    with pytest.raises(BadSetting):
        extract([account], lambda *_: None, **options)


def test_the_level_is_computed_again_from_the_answers_alone(serve, account):
    one = listing(serve(images=123), account)
    passes = believed(one.answers)

    assert certify(passes) == one.level == "verified"
    said = evidence(one.answers, one.ended_passes)
    assert (said["certificate"], said["pass_count"], said["page_count"], said["call_count"]) == ("verified", 2, 3, 6)
    assert said["total_count"] == 123
    first_of_last = next(answer for answer in one.answers if (answer.pass_number, answer.page_number) == (2, 1))
    assert said["observed_at_utc"] == first_of_last.received_at_utc
    assert Counter(answer.pass_number for answer in one.answers) == {1: 3, 2: 3}


# ── bounds ───────────────────────────────────────────────────────────────────


def asks(one: Listing) -> Counter[tuple[int, int]]:
    """How often each page of each pass was asked for."""
    return Counter((answer.pass_number, answer.page_number) for answer in one.answers)


def test_a_listing_that_is_never_proven_is_read_five_times(serve, account):
    one = listing(serve(images=60, faults=["wrong-total"]), account, bounds=QUICK)

    assert isinstance(one.error, IncompleteListing)
    assert (one.begun_passes, one.ended_passes, one.level) == (5, 5, "unproven")
    assert "was read 5 times over and not proven 'verified': 60 ids of 61 in the last pass" in str(one.error)


@pytest.mark.parametrize(
    ("images", "faults", "says"),
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
            r"no TotalCount that is a whole number; waiting mends nothing: report .*--certificate unproven",
        ),
        (123, ["wrong-total:page=1"], r"is at rest, and .*the same 123 ids again, TotalCount 123 and 124; waiting"),
        (123, ["missing-id:page=3"], r"1 without an id, .*; --certificate counted publishes"),
        (123, ["object:page=2"], r"5 of 10 pages stayed unreadable \(page 2 of pass 5: not a listing.* are kept$"),
        (123, ["churn:page=2"], r"changed meanwhile \(other images than the pass before: 4 times; .*: try again when"),
        (123, ["insertions:page=2"], r"TotalCount unlike page 1's: 10 of 15 pages\): try again when it is at rest$"),
    ],
)
def test_a_refusal_tells_an_account_in_motion_from_a_service_that_contradicts_itself(
    serve, account, images, faults, says
):
    one = listing(serve(images=images, faults=faults), account, workers=1, bounds=QUICK)

    assert isinstance(one.error, IncompleteListing)
    assert re.search(says, str(one.error)), one.error


def test_a_pass_that_can_prove_nothing_any_more_is_not_read_for_ever(serve, account):
    endpoint = serve(images=123, latency_ms=5, faults=["insertions:count=60"])
    one = listing(endpoint, account, bounds=replace(QUICK, hopeless_seconds=0.05))

    assert isinstance(one.error, IncompleteListing)
    assert one.begun_passes == 5
    assert max(Counter(number for number, _ in asks(one)).values()) < 40  # sixty-four more than were called for
    assert Bounds().passes * (Bounds().hopeless_seconds + 2) <= 75


def test_an_account_that_grows_is_read_to_the_end_where_nothing_is_to_be_proven(serve, account):
    endpoint = serve(images=123, faults=["insertions:times=3"])
    one = listing(endpoint, account, level="unproven", workers=1, bounds=replace(QUICK, hopeless_seconds=-1))

    assert (one.level, one.error, len(ids(one))) == ("unproven", None, 126)


def test_an_account_that_is_throttled_without_end_is_given_up_in_time(serve, account):
    endpoint = serve(images=123, faults=["throttling:page=2,ms=20"])
    one = listing(endpoint, account, bounds=replace(QUICK, throttled_seconds=0.3))

    assert isinstance(one.error, StillThrottled)
    assert endpoint.calls < 30


def test_no_pass_begins_too_long_after_the_second_one_ended(serve, account):
    endpoint = serve(images=60, faults=["wrong-total"])

    assert listing(endpoint, account, bounds=Bounds(seconds_after_two=-1, pause_seconds=0)).begun_passes == 2


def test_a_contradiction_is_asked_three_times_and_then_believed(serve, account):
    one = listing(serve(images=123, faults=["short:page=2"]), account, level="unproven", bounds=QUICK)

    assert asks(one) == {(1, 1): 1, (1, 2): 3, (1, 3): 1}
    assert [answer.error for answer in one.answers if answer.page_number == 2] == [
        "it holds 49 images where TotalCount 123 calls for 50"
    ] * 3


def test_patience_with_contradictions_has_an_end(serve, account):
    endpoint = serve(images=123, faults=["short"])
    one = listing(endpoint, account, level="unproven", workers=1, bounds=Bounds(patience_seconds=-1))

    assert set(asks(one).values()) == {1}


def test_a_page_that_stays_unreadable_breaks_the_pass_and_the_next_begins_afresh(serve, account):
    one = listing(serve(images=123, faults=["cut:page=2,times=3"]), account, workers=1, bounds=QUICK)

    assert (one.level, one.error, one.begun_passes) == ("verified", None, 3)
    assert certify(believed(one.answers)) == evidence(one.answers, one.ended_passes)["certificate"] == "verified"


def test_a_broken_pass_between_two_equal_ones_costs_no_further_reading(serve, account):
    one = listing(serve(images=123, faults=["cut:page=2,times=3,after=3"]), account, workers=1, bounds=QUICK)

    assert (one.level, one.begun_passes) == ("verified", 3)
    assert [answer.page for answer in one.answers if answer.pass_number == 2 and answer.page_number == 2] == [None] * 3
    assert evidence(one.answers, one.ended_passes)["certificate"] == "verified"


def test_a_page_that_is_never_readable_is_named_in_the_error(serve, account):
    one = listing(serve(images=123, faults=["object:page=2"]), account, bounds=QUICK)

    assert "read 5 times over" in str(one.error)
    assert "pages stayed unreadable (page 2 of pass 5: not a listing in JSON" in str(one.error)
    assert (one.level, evidence(one.answers, one.ended_passes)["certificate"]) == (None, None)


def test_one_page_that_fails_ends_its_pass_for_all_workers(serve, account):
    one = listing(serve(images=1037, faults=["500:page=2"]), account, workers=8, bounds=QUICK)

    assert isinstance(one.error, Unreachable)
    assert one.ended_passes == 0


def test_an_empty_account_whose_list_is_null_is_verified_after_a_second_look(serve, account):
    one = listing(serve(images=0, faults=["null"]), account, bounds=QUICK)

    assert (one.level, one.error, len(one.answers)) == ("verified", None, 2)


def test_a_service_that_always_answers_with_the_first_page_is_refused(serve, account):
    one = listing(serve(images=123, faults=["repeated:page=2", "repeated:page=3,count=2"]), account, bounds=QUICK)

    assert isinstance(one.error, IncompleteListing)
    assert "50 ids of 123" in str(one.error)
    assert max(page for _, page in asks(one)) == 3


def test_a_list_without_a_total_ends_where_it_brings_nothing_new(serve, account):
    faults = ["no-total", *(f"repeated:page={page},count={page - 1}" for page in range(3, 9))]
    one = listing(serve(images=500, faults=faults), account, level="unproven", bounds=QUICK)

    assert (one.level, len(set(ids(one)))) == ("unproven", 100)
    assert max(page for _, page in asks(one)) == 3


def test_a_list_without_a_total_is_not_followed_for_ever():
    from pipeline.extract.response import Page

    reading = _Pass(1, 1, QUICK)
    reading.take(1, Page(1, 1, None, ("m-1",), is_null=False, request_id=None))
    assert reading.goes_on()
    reading.take(_PAGES_WITHOUT_TOTAL, Page(None, 1, None, ("m-2",), is_null=False, request_id=None))

    assert not reading.goes_on()


@pytest.mark.parametrize("size", [1, 20, 49])
def test_a_clamped_page_size_is_asked_again_once_and_then_believed_for_the_whole_listing(serve, account, size):
    endpoint = serve(images=123, faults=[f"clamped:count={size}"])
    one = listing(endpoint, account)
    pages = -(-123 // size) + (123 % size == 0)

    assert (one.level, len(ids(one))) == ("verified", 123)
    assert len(one.answers) == 2 * pages + 1


def test_a_page_size_that_is_cut_in_mid_list_is_asked_for_from_the_next_pass_on(serve, account):
    one = listing(serve(images=123, faults=["clamped:page=2,count=20"]), account, bounds=QUICK)

    assert (one.level, one.begun_passes, len(ids(one))) == ("verified", 3, 123)


def test_an_answer_that_was_asked_again_and_healed_does_not_count_against_the_proof(serve, account):
    faults = ["wrong-total:page=1,times=1,after=3", "empty:page=2,times=1"]
    one = listing(serve(images=123, faults=faults), account, workers=1, bounds=QUICK)
    said = evidence(one.answers, one.ended_passes)

    assert (one.level, one.begun_passes, said["recovered_answer_count"]) == ("verified", 2, 2)
    page_one = [answer for answer in one.answers if (answer.pass_number, answer.page_number) == (2, 1)]
    assert len(page_one) == 2
    assert (said["observed_at_utc"], said["first_request_id"]) == (
        page_one[1].received_at_utc,
        page_one[1].request_id,
    )


# ── the service's pace, and the user's ───────────────────────────────────────


def test_a_service_that_allows_twenty_calls_a_second_is_read_to_the_end(serve, account):
    one = listing(serve(images=2000, qps=20), account)

    assert (one.level, one.error, len(ids(one))) == ("verified", None, 2000)


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


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("SIGINT", "read()"),
        ("SIGTERM", "read()"),
        ("SIGINT", "loop.run_until_complete(notebook())"),
    ],
)
def test_a_signal_ends_the_reading_at_once_and_without_noise(name, read):
    code = textwrap.dedent(STOPPED).format(signal=name, read=read)
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, check=False, timeout=60
    )

    assert done.stdout == "stopped True 2\n"  # this thread and the endpoint's: none is left that reads
    assert done.stderr == ""


def test_an_error_while_landing_ends_every_reader_and_reaches_the_caller(serve, account):
    def full(*_: object) -> None:
        raise OSError("no space left on device")

    endpoint = serve(images=500)
    with pytest.raises(OSError, match="no space"):
        extract([account], full, endpoint=endpoint.url, rate=None)
