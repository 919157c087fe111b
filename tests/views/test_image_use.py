"""Use of images: the views say what a plain model says, and never `unused` of an image that an instance named."""

from __future__ import annotations

import datetime as dt
from collections import Counter

import pytest
import use_model
from lake_builder import Seen, image, instance, used, utc, write_run
from openpyxl import load_workbook

from pipeline import connect, run
from pipeline.credentials import key_account
from pipeline.emulator import Endpoint, Key, living_account
from pipeline.reports.export import export
from pipeline.reports.provenance import provenance_line


def test_the_use_of_images_is_that_of_the_model_at_every_observation_and_unused_is_true(tmp_path):
    counts: Counter[str] = Counter()
    for seed in range(2):
        counts += use_model.compare(tmp_path / f"{seed}", seed, every=4)

    assert all(counts[each] for each in ("in use", "unused", "not known", "deleted", "never listed")), counts


@pytest.mark.usefixtures("with_instances")
def test_what_an_instance_of_a_living_account_names_is_in_use_the_rest_unused_once_the_right_is_there(tmp_path):
    emulated = living_account(images=55, seed=3, instances=40)
    key = Key("secret", emulated, permitted_days={"DescribeInstances": range(2, 99)})
    account = key_account("prod", "prod", "secret")
    with Endpoint({"prod": key}, faults=["throttling:p=0.1", "deletions:p=0.2"]) as endpoint:
        for day in range(4):
            endpoint.day = day
            at = utc("2026-10-01 02:00") + dt.timedelta(days=day)
            run(tmp_path, accounts=[account], endpoint=endpoint.url, rate=None, observed_at=at)

    use = "select use_status, image_id from image_use"
    for day in range(4):
        with connect(tmp_path, as_of=dt.date(2026, 10, 1) + dt.timedelta(days=day)) as con:
            named = {image_id for (image_id,) in con.execute("select image_id from instances_latest").fetchall()}
            found = con.execute(use).fetchall()
        if day < 2:
            assert {status for status, _ in found} == {"not known"}
        else:
            assert {image_id for status, image_id in found if status == "in use"} == named & {each for _, each in found}
            assert {image_id for status, image_id in found if status == "unused"} == {each for _, each in found} - named
            assert 0 < len(named & {each for _, each in found}) < len(found)


def seen(account, at, uses, **fields):
    """Two images, m-1 and m-2, and an instance for each of `uses`; None: instances are not listed."""
    instances = None if uses is None else [instance(f"i-{number}", each) for number, each in enumerate(uses)]
    return Seen(account, at, [image("m-1"), image("m-2")], instances=instances, **fields)


def use_of_first(data, columns):
    with connect(data) as con:
        return con.execute(f"select {columns} from image_use where image_id = 'm-1'").fetchall()  # noqa: S608


@pytest.mark.parametrize(
    ("uses", "why"),
    [
        (["m-2", None], "one instance names no image"),
        (["m-2", "", None], "2 instances name no image"),
    ],
)
def test_an_instance_whose_image_could_not_be_read_may_use_any_so_none_is_unused(tmp_path, uses, why):
    write_run(tmp_path, seen("a", "2026-10-01 02:00", uses))
    assert use_of_first(tmp_path, "use_status, why, is_use_proven") == [("not known", why, False)]
    with connect(tmp_path) as con:
        by_day = "select use_status from image_use_by_day where image_id = 'm-1'"
        assert con.execute(by_day).fetchall() == [("not known",)]

    write_run(tmp_path, seen("a", "2026-10-02 02:00", ["m-2"]))
    assert use_of_first(tmp_path, "use_status, unused_since_utc") == [("unused", utc("2026-10-02 02:00"))]


@pytest.mark.parametrize(
    ("first", "again", "expected", "shown"),
    [
        (None, ["m-1"], ("in use", 1, 0), ("a2", "m-1")),  # the key of the first name lost the right
        ([], ["m-1"], ("in use", 1, 0), ("a2", "m-1")),  # or it gets an empty list
        (None, ["m-2"], ("unused", 0, 0), ("a2", "m-2")),
        (["m-2"], ["m-1"], ("unused", 0, 0), ("a", "m-2")),  # used at 02:01, not at 02:02
        (["m-2"], ["m-2"], ("unused", 0, 0), ("a", "m-2")),
    ],
)
def test_of_an_account_with_two_names_the_last_listing_of_either_holds_its_own_instances(
    tmp_path, first, again, expected, shown
):
    write_run(tmp_path, seen("a", "2026-10-01 02:00", ["m-2"]))
    other_name = seen("a2", "2026-10-02 02:01", again, same_account_as="a")
    write_run(tmp_path, seen("a", "2026-10-02 02:02", first), other_name)
    assert use_of_first(tmp_path, "use_status, instance_count, other_account_instance_count") == [expected]
    with connect(tmp_path) as con:
        assert con.execute("select account, image_id from instances_latest").fetchall() == [shown]
        assert con.execute("select account, count(*) from instance_disks_latest group by 1").fetchall() == [
            (shown[0], 1)
        ]
        assert con.execute("select distinct account from images_latest").fetchall() == [("a",)]
        assert " · 2 images · instances " in provenance_line(con)
        assert " verified · 1 instance · 0 rejects" in provenance_line(con)


@pytest.mark.parametrize(
    ("listed", "status", "why"),
    [
        ("2026-10-01 03:00", "not known", "instances were listed over 1 day before the images"),
        ("2026-10-02 01:59", "not known", "instances were listed over 1 day before the images"),
        ("2026-10-02 02:00", "unused", "no instance of the account names it, by a verified listing"),
    ],
)
def test_a_listing_of_instances_more_than_24_hours_older_than_the_images_proves_nothing(tmp_path, listed, status, why):
    write_run(tmp_path, seen("a", "2026-10-03 02:00", ["m-2"], instances_at=listed))
    assert use_of_first(tmp_path, "use_status, why") == [(status, why)]


def test_a_use_in_any_listing_of_a_day_is_the_last_use_and_ends_the_disuse_before_it(tmp_path):
    for at, uses in (
        ("2026-10-01 02:00", ["m-2"]),
        ("2026-10-09 02:00", ["m-1", "m-2"]),
        ("2026-10-09 20:00", ["m-2"]),
        ("2026-10-10 21:00", ["m-2"]),
    ):
        write_run(tmp_path, seen("a", at, uses))
    with connect(tmp_path) as con:
        by_day = con.execute(
            "select day_utc, use_status, last_use_day_utc, unused_since_utc, unused_days from image_use_by_day "
            "where image_id = 'm-1' order by day_utc"
        ).fetchall()
    first, used_on, last = (dt.date(2026, 10, day) for day in (1, 9, 10))
    since = utc("2026-10-09 20:00")
    assert by_day == [
        (first, "unused", None, utc("2026-10-01 02:00"), 0),
        (used_on, "unused", used_on, since, 0),
        (last, "unused", used_on, since, 1),
    ]
    assert use_of_first(tmp_path, "last_use_utc, unused_since_utc, unused_days") == [
        (utc("2026-10-09 02:00"), since, 1)
    ]


def test_use_in_a_workbook(tmp_path):
    used(tmp_path / "data")
    with connect(tmp_path / "data") as con:
        count = export(con, "image_use", tmp_path / "use.xlsx")
    rows = list(load_workbook(tmp_path / "use.xlsx")["image_use"].iter_rows(values_only=True))
    of_use = {dict(zip(rows[0], row, strict=True))["use_status"] for row in rows[1:]}
    assert (count, of_use) == (11, {"in use", "unused", "not known"})
