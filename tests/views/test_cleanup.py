"""Views with settings: what is listed, why, and that each setting does what it says."""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lake_builder import Seen, image, instance, utc, write_run

from pipeline.errors import BadSetting
from pipeline.reports.dictionary import describe, dictionary
from pipeline.reports.query import as_dicts, query
from pipeline.reports.standing import build_report
from pipeline.views.catalog import relations, relations_in
from pipeline.views.connection import connect, connect_empty
from pipeline.views.database import write_catalog
from pipeline.views.script import views_sql

WITH_SETTINGS = [one for one in relations().values() if one.settings]
NOW = utc("2026-10-30 02:00")


def ask(data: Path, sql: str) -> list[dict[str, Any]]:
    return as_dicts(query(connect(data, only_lake=True), sql))


def days_ago(days: int) -> dt.datetime:
    return NOW - dt.timedelta(days=days)


def old(image_id: str, days: int = 400, **fields: Any) -> dict[str, Any]:
    return image(image_id, image_name="base", architecture="x86_64", created_at_utc=days_ago(days), **fields)


# ── settings ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("one", WITH_SETTINGS, ids=lambda one: one.name)
def test_a_view_with_settings_is_a_macro_whose_defaults_give_the_view(lake, one):
    given = ", ".join(f"{setting.name} := {setting.default}" for setting in one.settings)
    plain = ask(lake, f"from {one.name}")
    assert ask(lake, f"from {one.name}()") == plain
    assert ask(lake, f"from {one.name}({given})") == plain


@pytest.mark.parametrize("one", WITH_SETTINGS, ids=lambda one: one.name)
def test_each_setting_is_told_in_duckdb_in_describe_and_in_the_dictionary(one):
    con = connect_empty()
    comment, parameters = con.execute(
        "select comment, parameters from duckdb_functions() where function_name = $1", [one.name]
    ).fetchall()[0]
    assert parameters == [setting.name for setting in one.settings]
    described = {row[0]: row[-1] for row in describe(one.name).rows}
    for setting in one.settings:
        call = f"{setting.name} := {setting.default}"
        assert setting.doc
        assert f"{call}: {setting.doc}" in comment
        assert described[call] == f"Setting: {setting.doc}"
        assert f"| {call} | {setting.doc} |" in dictionary()


def test_each_setting_of_a_view_s_file_is_used_and_the_file_runs_without_a_macro(lake):
    con = connect(lake)
    for one in WITH_SETTINGS:
        assert one.query
        assert con.execute(one.query).fetchall() == con.execute(f"from {one.name}").fetchall()
        used = set(re.findall(r"settings\.(\w+)", one.query))
        assert used == {setting.name for setting in one.settings}


@pytest.mark.parametrize("is_copied", [False, True])
def test_the_thresholds_of_a_connection_are_those_of_its_views_and_macros(own_lake, is_copied):
    if is_copied:
        write_catalog(own_lake)
    asked = {"stale_images": {"older_than_days": 500, "unchanged_days": 1}}
    expected = ask(own_lake, "from stale_images(older_than_days := 500, unchanged_days := 1)")
    assert 0 < len(expected) < len(ask(own_lake, "from stale_images"))
    with connect(own_lake, thresholds=asked, only_lake=True) as con:
        assert as_dicts(query(con, "from stale_images")) == expected
        assert as_dicts(query(con, "from stale_images()")) == expected
        assert relations_in(con)["stale_images"].settings[0].default == "500"
        assert relations_in(con)["cleanup_candidates"] == relations()["cleanup_candidates"]
        told = con.execute("select comment from duckdb_functions() where function_name = 'stale_images'").fetchall()
        assert "older_than_days := 500: " in told[0][0]
    with duckdb.connect() as con:
        con.execute(views_sql(own_lake, thresholds=asked))
        assert len(con.execute("from stale_images").fetchall()) == len(expected)


def test_the_report_tells_the_rule_and_the_sql_by_the_thresholds_of_the_connection(lake):
    with connect(lake, thresholds={"cleanup_candidates": {"older_than_days": 77}}) as con:
        told = build_report(con)
        (going,) = [one for one in told.sections if one.name == "cleanup"]
    assert "The rule: our own, 77 days old or more" in going.notes[0]
    assert "77 as older_than_days" in told.views["cleanup_candidates"]


def test_a_text_among_the_thresholds_is_a_regular_expression_and_can_hold_anything(lake):
    fits = {"cleanup_candidates": {"ignored_in_name": "it's' as x, -- \\d as y  -- z\n"}}
    with connect(lake, thresholds=fits) as con:
        assert con.execute("from cleanup_candidates").fetchall() == con.execute("from cleanup_candidates()").fetchall()
    with pytest.raises(BadSetting, match=r"ignored_in_name = '\(' is not a regular expression: .*missing \)"):
        connect(lake, thresholds={"cleanup_candidates": {"ignored_in_name": "("}})


def test_the_catalogue_holds_the_macros_too(own_lake):
    path = write_catalog(own_lake)
    expected = ask(own_lake, "from stale_images(older_than_days := 10)")
    assert expected
    with duckdb.connect(str(path), read_only=True) as con:
        assert len(con.execute("from stale_images(older_than_days := 10)").fetchall()) == len(expected)


# ── stale images ─────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def watched(tmp_path_factory) -> Path:
    """Thirty days of an account with an image that rests, one that changed ten days ago, and some that do not count."""
    images = [
        old("m-rests", image_size_gib=40),
        old("m-changed", 500, status="Available"),
        old("m-unsized", 300, image_size_gib=None),
        old("m-young", 100),
        old("m-theirs", image_owner="others"),
        image("m-ageless", created_at_utc=None),
    ]
    data = tmp_path_factory.mktemp("watched")
    write_run(data, Seen(at="2026-09-30 02:00", images=images))
    images[1] = old("m-changed", 500, status="Unavailable")
    write_run(data, Seen(at="2026-10-20 02:00", images=images))
    write_run(data, Seen(at="2026-10-30 02:00", images=[*images, old("m-new-here", 200)]))
    write_catalog(data)
    return data


def test_a_stale_image_is_old_the_account_s_own_and_unchanged_and_says_why_and_what_it_would_free(watched):
    rows = ask(watched, "from stale_images")
    assert [(row["image_id"], row["freed_gib"], row["why"]) for row in rows] == [
        ("m-rests", 40, "400 days old; no change in 30 days watched"),
        ("m-unsized", None, "300 days old; no change in 30 days watched"),
        ("m-new-here", 20, "200 days old; no change in 0 days watched"),
    ]


@pytest.mark.parametrize(
    ("given", "listed"),
    [
        ("older_than_days := 400", ["m-rests"]),
        ("older_than_days := 401", []),
        ("older_than_days := 90", ["m-rests", "m-unsized", "m-new-here", "m-young"]),
        ("unchanged_days := 10", ["m-changed", "m-rests", "m-unsized", "m-new-here"]),
        ("unchanged_days := 11", ["m-rests", "m-unsized", "m-new-here"]),
        ("watched_days := 30", ["m-rests", "m-unsized"]),
        ("watched_days := 31", []),
    ],
)
def test_each_threshold_of_stale_images_counts_from_itself_on(watched, given, listed):
    assert [row["image_id"] for row in ask(watched, f"from stale_images({given})")] == listed


def test_a_stale_image_tells_when_it_last_changed(watched):
    first = ask(watched, "from stale_images(unchanged_days := 10)")[0]
    assert first["last_changed_utc"] == utc("2026-10-20 02:00")
    assert first["why"] == "500 days old; last changed 10 days ago in 30 days watched"


# ── what could go ────────────────────────────────────────────────────────────


def candidates(data: Path, given: str = "") -> list[str]:
    return [row["image_id"] for row in ask(data, f"from cleanup_candidates({given}) order by image_id")]


def test_a_candidate_has_a_newer_one_of_its_name_and_says_why_and_what_it_would_free(tmp_path):
    write_run(
        tmp_path,
        Seen(images=[old("m-1", 400, image_size_gib=50), old("m-2", 300, image_size_gib=None), old("m-3", 200)]),
    )
    rows = ask(tmp_path, "from cleanup_candidates")
    assert [(row["image_id"], row["newest_image_id"], row["freed_gib"], row["why"]) for row in rows] == [
        ("m-1", "m-3", 50, "400 days old; 2 newer of its name"),
        ("m-2", "m-3", None, "300 days old; 1 newer of its name"),
    ]


NO_SUCCESSOR = [
    {"status": "Pack_failed"},
    {"status": "Creating"},
    {"status": None},
    {"image_owner": "others"},
    {"image_owner": None},
    {"architecture": "arm64"},
    {"architecture": None},
    {"image_name": "Base"},
    {"created_at_utc": None},
    {"created_at_utc": days_ago(400)},
]
NOTHING_KNOWN = [
    {"created_at_utc": None},
    {"image_owner": "others"},
    {"image_name": None},
    {"image_name": ""},
    {"architecture": ""},
]


def test_what_may_not_stand_in_for_an_image_makes_it_no_candidate(tmp_path):
    pairs = [(old(f"m-{n}"), {**old(f"m-{n}-newer", 10), **newer}) for n, newer in enumerate([{}, *NO_SUCCESSOR])]
    write_run(tmp_path, *(Seen(f"account-{n}", images=pair) for n, pair in enumerate(pairs)))
    assert candidates(tmp_path) == ["m-0"]  # the one whose newer image is like it


def test_of_what_nothing_is_known_nothing_is_a_candidate(tmp_path):
    pairs = [
        ({**old(f"m-{n}"), **other}, {**old(f"m-{n}-newer", 10), **other})
        for n, other in enumerate([{}, *NOTHING_KNOWN])
    ]
    write_run(tmp_path, *(Seen(f"account-{n}", images=pair) for n, pair in enumerate(pairs)))
    assert candidates(tmp_path) == ["m-0"]  # the one of which all is known


def test_a_newer_one_in_another_account_is_no_reason(tmp_path):
    write_run(tmp_path, Seen("a", images=[old("m-1")]), Seen("b", images=[old("m-2", 10)]))
    assert candidates(tmp_path) == []


def test_case_and_region_do_not_matter(tmp_path):
    write_run(
        tmp_path,
        Seen(
            images=[old("m-1"), {**old("m-2", 10, region_id="else"), "architecture": "X86_64", "status": "AVAILABLE"}]
        ),
    )
    assert candidates(tmp_path) == ["m-1"]


@pytest.fixture(scope="module")
def named_alike(tmp_path_factory) -> Path:
    """Three images of one name, and two whose names differ in a date."""
    data = tmp_path_factory.mktemp("named-alike")
    dated = [{**old(f"m-{number}", days), "image_name": f"web-2026010{number}"} for number, days in ((4, 190), (5, 10))]
    write_run(data, Seen(images=[old("m-1", 400), old("m-2", 300), old("m-3", 200), *dated]))
    write_catalog(data)
    return data


@pytest.mark.parametrize(
    ("given", "listed"),
    [
        ("older_than_days := 300", ["m-1", "m-2"]),
        ("older_than_days := 301", ["m-1"]),
        ("keep_newest := 2", ["m-1"]),
        ("keep_newest := 3", []),
        ("keep_newest := 0", ["m-1", "m-2", "m-3", "m-4"]),
        ("ignored_in_name := '-[0-9]{8}$'", ["m-1", "m-2", "m-4"]),
        ("ignored_in_name := '.*'", []),
    ],
)
def test_each_setting_of_cleanup_candidates_counts_from_itself_on(named_alike, given, listed):
    assert candidates(named_alike, given) == listed


# ── what is in use ───────────────────────────────────────────────────────────

ALL = {"m-1", "m-2"}  # old, with a newer one
NOT_KNOWN = dict.fromkeys(ALL, "not known")


@pytest.mark.parametrize(
    ("about", "listed", "only_unused", "also_not_known"),
    [
        ({}, NOT_KNOWN, set(), ALL),
        ({"instances_error": "NoPermission: no"}, NOT_KNOWN, set(), ALL),
        ({"instances": []}, NOT_KNOWN, set(), ALL),
        ({"instances": [instance("i-1", "m-2")]}, {"m-1": "unused"}, {"m-1"}, {"m-1"}),
        ({"instances": [instance("i-1", "public")]}, dict.fromkeys(ALL, "unused"), ALL, ALL),
        (
            {"instances": [instance("i-1", "m-2")], "instances_certificate": "counted"},
            {"m-1": "not known"},
            set(),
            {"m-1"},
        ),
        (
            {"instances": [instance("i-1", "m-2")], "instances_at": "2026-10-28 01:00"},
            {"m-1": "not known"},
            set(),
            {"m-1"},
        ),
    ],
)
def test_a_candidate_is_unused_or_its_use_cannot_be_known(tmp_path, about, listed, only_unused, also_not_known):
    write_run(tmp_path, Seen(images=[old("m-1", 400), old("m-2", 300), old("m-3", 100)], **about))

    with connect(tmp_path, only_lake=True) as con:
        for view in ("cleanup_candidates", "stale_images"):
            rows = con.table(view).select("image_id", "use_status").fetchall()
            assert dict(rows) == listed
            for given, expected in (("true", only_unused), ("false", also_not_known)):
                assert {row["image_id"] for row in ask(tmp_path, f"from {view}(only_unused := {given})")} == expected


def test_an_image_that_another_account_of_the_lake_uses_is_in_use_and_one_that_is_newer_is_not_known(tmp_path):
    images = [old("m-1", 400), old("m-2", 300), old("m-3", 200), old("m-4", 100)]
    images[2]["created_at_utc"] = utc("2026-10-30 01:59")
    seen = Seen("a", images=images, instances=[instance("i-1", "m-4")], instances_at="2026-10-30 01:58")
    write_run(tmp_path, seen, Seen("b", instances=[instance("i-2", "m-1")], instances_certificate="counted"))

    assert ask(tmp_path, "select image_id, use_status, why from image_use order by image_id") == [
        {"image_id": "m-1", "use_status": "in use", "why": "in use by other accounts of the lake: 1 instance"},
        {
            "image_id": "m-2",
            "use_status": "unused",
            "why": "no instance of the account names it, by a verified listing",
        },
        {"image_id": "m-3", "use_status": "not known", "why": "newer than the listing of instances"},
        {"image_id": "m-4", "use_status": "in use", "why": "in use by i-1: 1 running, 0 stopped, 0 expired"},
    ]


def test_days_without_use_count_from_the_first_proof_and_a_use_ends_them(tmp_path):
    images = [old("m-1", 400), old("m-2", 300), old("m-3", 10)]
    for day, used_image in ((1, "m-3"), (10, "m-2"), (20, "m-3"), (30, "m-3")):
        write_run(tmp_path, Seen(at=f"2026-10-{day:02} 02:00", images=images, instances=[instance("i-1", used_image)]))

    days = "select image_id, unused_days from cleanup_candidates(older_than_days := 90)"
    assert ask(tmp_path, days) == [{"image_id": "m-1", "unused_days": 29}, {"image_id": "m-2", "unused_days": 10}]
    assert candidates(tmp_path, "unused_days := 11") == ["m-1"]
    assert candidates(tmp_path, "unused_days := 30, only_unused := false") == []
    assert candidates(tmp_path, "include_used := true, keep_newest := 0, older_than_days := 1") == ["m-1", "m-2", "m-3"]
    history = "select use_status, unused_days from image_use_by_day where image_id = 'm-2' order by day_utc"
    assert [tuple(row.values()) for row in ask(tmp_path, history)] == [
        ("unused", 0),
        ("in use", None),
        ("unused", 0),
        ("unused", 10),
    ]


def test_the_heading_says_that_the_use_is_not_known_where_no_instance_was_listed(tmp_path):
    write_run(tmp_path, Seen(images=[old("m-1", 400), old("m-2", 300)]))
    with connect(tmp_path) as con:
        (going,) = [one for one in build_report(con).sections if one.name == "cleanup"]
    assert going.finding == "1 image can be deleted, freeing 20 GiB; whether an instance uses one is not known"
    assert (going.groups, going.further) == (None, ())


@pytest.mark.parametrize(
    ("about", "why"),
    [
        ({"instances_at": "2026-10-27 01:00"}, "instances were listed 3 days before the images"),
        ({"instances_certificate": "counted"}, "the listing of instances is counted, not verified"),
    ],
)
def test_why_the_use_is_not_known_stands_beside_each_image(tmp_path, about, why):
    images = [old("m-1", 400), old("m-2", 300)]
    write_run(tmp_path, Seen(images=images, instances=[instance("i-1", "m-2")], **about))

    assert ask(tmp_path, "select why from image_use where image_id = 'm-1'") == [{"why": why}]
    for view in ("cleanup_candidates", "stale_images"):
        query = f"select use_why from {view}(only_unused := false) where image_id = 'm-1'"  # noqa: S608
        assert ask(tmp_path, query) == [{"use_why": why}]
    with connect(tmp_path) as con:
        (going,) = [one for one in build_report(con).sections if one.name == "cleanup"]
    ((row,), (use,)) = going.table.rows, [one for one in going.table.columns if one.heading == "use"]
    assert use.value(row, Counter()) == f"not known: {why}"


def test_a_threshold_that_is_true_or_false_is_taken_from_the_settings(tmp_path):
    write_run(tmp_path, Seen(images=[old("m-1", 400), old("m-2", 300)]))
    with connect(tmp_path, thresholds={"cleanup_candidates": {"only_unused": True}}) as con:
        assert con.execute("from cleanup_candidates").fetchall() == []
        assert relations_in(con)["cleanup_candidates"].settings[2].kind == "BOOLEAN"
    with pytest.raises(BadSetting, match="only_unused = 1: true or false is expected"):
        connect(tmp_path, thresholds={"cleanup_candidates": {"only_unused": 1}})


# ── by plain Python ──────────────────────────────────────────────────────────

IMAGES = st.lists(
    st.fixed_dictionaries(
        {
            "image_name": st.sampled_from(["a", "b", "", None]),
            "architecture": st.sampled_from(["x86_64", "X86_64", "arm64", None]),
            "status": st.sampled_from(["Available", "available", "Pack_failed", None]),
            "image_owner": st.sampled_from(["self", "others", None]),
            "days": st.sampled_from([10, 179, 180, 200, 400, None]),
        }
    ),
    max_size=12,
)


def by_python(images: list[dict[str, Any]], keep: int) -> list[str]:
    """Look through the images of one account for those that could go."""

    def known(one: dict[str, Any]) -> bool:
        is_told = one["image_name"] and one["architecture"] and one["created_at_utc"]
        return bool(is_told) and one["image_owner"] == "self"

    def newer(one: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            other
            for other in images
            if known(other)
            and other["image_name"] == one["image_name"]
            and other["architecture"].lower() == one["architecture"].lower()
            and (other["status"] or "").lower() == "available"
            and other["created_at_utc"] > one["created_at_utc"]
        ]

    return [
        one["image_id"]
        for one in images
        if known(one) and one["created_at_utc"] <= days_ago(180) and len(newer(one)) >= keep
    ]


@settings(max_examples=settings.default.max_examples // 3)
@given(st.lists(IMAGES, min_size=1, max_size=6), st.integers(0, 2))
def test_any_account_s_candidates_are_what_plain_python_makes_of_it(accounts, keep):
    listed = [
        [
            image(
                f"m-{account}-{number:02}",
                **{name: value for name, value in row.items() if name != "days"},
                created_at_utc=None if row["days"] is None else days_ago(row["days"]),
            )
            for number, row in enumerate(rows)
        ]
        for account, rows in enumerate(accounts)
    ]
    with TemporaryDirectory() as folder:
        write_run(Path(folder), *(Seen(f"account-{account}", images=images) for account, images in enumerate(listed)))
        found = candidates(Path(folder), f"keep_newest := {keep}")
    assert found == [image_id for images in listed for image_id in by_python(images, keep)]
