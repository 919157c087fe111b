"""A whole account, page by page, with the proof that nothing is missing."""

from collections import Counter
from typing import Any

import pytest

from pipeline.certificate import Answer, believed, certify, evidence
from pipeline.emulator import Endpoint, Key, living_account
from pipeline.ens_api import Account, key_account
from pipeline.errors import BadSetting, NoCredentials, OutOfTime, Refused
from pipeline.extract import Listing, extract


def listing(endpoint: Endpoint, account: Account, **options: Any) -> Listing:
    (one,) = extract([account], lambda *_: None, endpoint=endpoint.url, rate=None, **options)
    return one


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
    assert {truth.request_id for truth in endpoint.truth} == {answer.request_id for answer in one.answers}


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
