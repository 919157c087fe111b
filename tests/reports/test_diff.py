"""`diff` finds what a comparison of the daily copies finds, and states what of it is proven."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lake_builder import Seen, image, instance, used, utc, write_run
from reading import HOSTILE, golden

from pipeline import diff
from pipeline.errors import BadSetting, LakeMissing, UnknownName
from pipeline.jobs.compaction import compact
from pipeline.jobs.retention import prune
from pipeline.reports.diff.render import write_diff
from pipeline.resources.images import IMAGE_FIELDS, IMAGES

if TYPE_CHECKING:
    import datetime as dt

# ── any history ──────────────────────────────────────────────────────────────

sizes = st.one_of(st.none(), st.integers(0, 2))
shapes = st.tuples(
    sizes, st.sampled_from(["self", "others"]), st.sampled_from(["cn-a", "cn-b", None]), st.lists(sizes, max_size=1)
)
listed = st.dictionaries(st.sampled_from(["m-1", "m-2", "m-3"]), shapes)
days = st.integers(1, 12)
levels = st.sampled_from(["verified", "verified", "counted"])
histories = st.dictionaries(
    st.sampled_from("abcdef"), st.dictionaries(days, st.tuples(levels, listed), min_size=1, max_size=7), min_size=2
)


def day(number: int) -> dt.datetime:
    return utc(f"2026-10-{number:02} 02:00")


def live(data: Path, history: dict[str, Any]) -> None:
    """Write a history down as one run: what is compared does not ask which file a row lies in."""
    seen = []
    for account, observations in history.items():
        for number, (level, images) in observations.items():
            rows = [
                image(name, *disks, image_size_gib=size, image_owner=owner, region_id=region)
                for name, (size, owner, region, disks) in images.items()
            ]
            seen.append(Seen(account, str(day(number)), rows, level))
    write_run(data, *seen, began=str(day(1)))


def by_python(history: dict[str, Any], old: int, new: int) -> tuple[set[tuple[Any, ...]], dict[Any, list[int]]]:
    """Compare each account's copies of the two days: what became of each image, and the capacity by region."""
    told: set[tuple[Any, ...]] = set()
    capacity: dict[Any, list[int]] = {}
    for account, observations in history.items():
        before = max((at for at in observations if at <= old), default=None)
        after = max((at for at in observations if at <= new), default=None)
        was = observations[before][1] if before else {}
        now = observations[after][1] if after else {}
        for side, images in ((0, was), (1, now)):
            for size, owner, region, disks in images.values():
                if owner == "self":
                    sums = capacity.setdefault(region, [0] * 6)
                    for place, value in enumerate((1, size or 0, sum(disk or 0 for disk in disks))):
                        sums[2 * place + side] += value
        for name in was.keys() | now.keys():
            lacking = [at for at, (level, images) in observations.items() if level == "verified" and name not in images]
            if name not in now:
                last = max(at for at, (_, images) in observations.items() if at <= new and name in images)
                proof = [at for at in lacking if last < at <= new]
                told.add((account, name, "gone" if proof else "unseen", None))
            elif name not in was:
                proof = [at for at in lacking if before and before <= at <= new]
                told.add((account, name, "appeared" if proof else "seen", None))
            else:
                fields = ("image_size_gib", "image_owner", "region_id", "disks")
                for field, earlier, later in zip(fields, was[name], now[name], strict=True):
                    if earlier != later:
                        told.add((account, name, "changed", field))
    return told, capacity


@settings(max_examples=settings.default.max_examples // 6)
@given(histories, st.lists(st.tuples(days, days).map(sorted), min_size=1, max_size=3))
def test_a_diff_is_what_a_comparison_of_the_daily_copies_finds(history, pairs):
    with TemporaryDirectory() as folder:
        data = Path(folder)
        live(data, history)
        first = min(at for seen in history.values() for at in seen)
        for old, new in pairs:
            if old < first:
                continue
            with diff(day(old), day(new), data) as found:
                changes = found.lake.execute("select account, image_id, change, field from diff_changes").fetchall()
                regions = found.capacity_by_region.fetchall()
                differs = bool(found)
            told, capacity = by_python(history, old, new)
            assert len(changes) == len(set(changes))
            assert set(changes) == told
            assert differs == bool(told)
            assert {row[0]: [row[1], row[2], row[4], row[5], row[7], row[8]] for row in regions} == capacity
            assert all(
                (row[3], row[6], row[9]) == (row[2] - row[1], row[5] - row[4], row[8] - row[7]) for row in regions
            )


# ── what is proven ───────────────────────────────────────────────────────────


def changes(data: Path, old: int, new: int, **options: Any) -> list[tuple[Any, ...]]:
    with diff(f"2026-10-{old:02}", f"2026-10-{new:02}", data, **options) as found:
        return found.lake.execute(
            "select image_id, change, field, old_value, new_value, since_utc from diff_changes"
        ).fetchall()


def watched(data: Path, *listings: tuple[str, list[dict[str, Any]]]) -> Path:
    """Observe an account once a day, from 1 October on."""
    for number, (level, images) in enumerate(listings, start=1):
        write_run(data, Seen(at=str(day(number)), images=images, certificate=level))
    return data


def test_an_image_is_gone_only_as_of_a_moment_that_has_the_proof(tmp_path):
    watched(tmp_path, ("verified", [image("m-1")]), ("counted", []), ("verified", []))

    assert changes(tmp_path, 1, 2) == [("m-1", "unseen", None, None, None, day(2))]
    assert changes(tmp_path, 1, 3) == [("m-1", "gone", None, None, None, day(3))]
    assert changes(tmp_path, 2, 3) == []


def test_an_image_appeared_only_if_a_verified_observation_lacks_it(tmp_path):
    watched(
        tmp_path,
        ("verified", []),
        ("counted", []),
        ("counted", [image("m-1")]),
        ("verified", []),
        ("verified", [image("m-1")]),
    )

    assert changes(tmp_path, 1, 3) == [("m-1", "appeared", None, None, None, day(3))]
    assert changes(tmp_path, 2, 3) == [("m-1", "seen", None, None, None, day(3))]
    assert changes(tmp_path, 2, 5) == [("m-1", "appeared", None, None, None, day(5))]
    assert changes(tmp_path, 3, 5) == []


def test_an_image_that_changed_and_changed_back_is_no_difference(tmp_path):
    watched(
        tmp_path, *(("verified", [image("m-1", status=status)]) for status in ("Available", "Copying", "Available"))
    )

    assert changes(tmp_path, 1, 3) == []
    assert changes(tmp_path, 1, 2) == [("m-1", "changed", "status", "Available", "Copying", day(2))]


def test_a_difference_of_any_field_is_told_as_image_changes_tells_it(tmp_path):
    kinds = {
        "text": ("old", "new"),
        "integer": (1, 2),
        "gib": (1, 2),
        "timestamp": (utc("2026-01-01"), utc("2026-01-02")),
    }
    values = {field.name: kinds[IMAGES.column(field.name).kind] for field in IMAGE_FIELDS}
    more = {"disk_size_gib": None, "extra": "{}"}
    before = [image(f"m-{field}", 5, **{field: old}) for field, (old, _) in values.items()]
    after = [image(f"m-{field}", 5, more, **{field: new}) for field, (_, new) in values.items()]
    watched(tmp_path, ("verified", before), ("verified", after))
    with diff("2026-10-01", "latest", tmp_path) as found:
        asked = "select image_id, field, old_value, new_value from {} order by all"
        told = found.lake.execute(asked.format("diff_changes")).fetchall()
        assert told == found.lake.execute(asked.format("image_changes")).fetchall()
    assert [row[:2] for row in told] == sorted((f"m-{field}", name) for field in values for name in (field, "disks"))
    assert {row for row in told if row[1] != "disks"} == {
        (f"m-{field}", field, str(old), str(new)) for field, (old, new) in values.items()
    }


# ── which moments, which accounts ────────────────────────────────────────────


def test_nothing_differs_from_itself(lake):
    for moment in ("latest", "2026-10-28", "2026-10-28T02:00:30Z", "20261028T020000Z/prod"):
        with diff(moment, moment, lake) as found:
            assert not found
            assert found.changes.fetchall() == []


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("2026-10-28", "2026-10-26", r"FROM, 2026-10-28, is later than TO, 2026-10-26 \(2026-10-26 23:59:59 UTC\)"),
        ("latest", "2026-10-26", "FROM, latest, is later than TO, 2026-10-26"),
        (
            "2026-10-01",
            "latest",
            "as of 2026-10-01 there was no published observation: the first is of 2026-10-26 02:00",
        ),
        ("2026-10-26", "tomorrow", "'tomorrow' means nothing here: .*`latest`"),
    ],
)
def test_moments_that_cannot_be_compared_are_told_why(lake, old, new, says):
    with pytest.raises(BadSetting, match=says):
        diff(old, new, lake)


def test_where_nothing_is_published_there_is_nothing_to_compare(tmp_path):
    with pytest.raises(LakeMissing):
        diff("latest", "latest", tmp_path)
    write_run(tmp_path, Seen(error="Refused: no"))
    with pytest.raises(BadSetting, match="nothing is published"):
        diff("latest", "latest", tmp_path)


def test_accounts_can_be_chosen_and_one_that_is_not_there_is_named_with_the_nearest(lake):
    with diff("2026-10-26", "latest", lake, accounts=["test"]) as found:
        assert {row[0] for row in found.changes.fetchall()} == {"test"}
        assert [row[0] for row in found.accounts.fetchall()] == ["test"]
    with pytest.raises(UnknownName, match="no account is called 'tset' by then: did you mean 'test'"):
        diff("2026-10-26", "latest", lake, accounts=["tset"])


def test_an_account_says_what_either_moment_stands_on(lake):
    with diff("2026-10-26", "latest", lake) as found:
        assert found.accounts.fetchall() == [
            ("prod", utc("2026-10-26 02:00"), "verified", 4, utc("2026-10-30 02:00"), "verified", 4, 2, 0, None),
            ("test", None, None, None, utc("2026-10-28 02:01"), "verified", 1, 1, 1,
             "StillThrottled: account 'test' was throttled"),
        ]  # fmt: skip


# ── as it is shown ───────────────────────────────────────────────────────────


def shown(data: Path, old: str, new: str = "latest", output_format: Any = "table") -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    with diff(old, new, data) as found:
        write_diff(found, output_format, out, err)
    return out.getvalue(), err.getvalue()


@pytest.mark.parametrize(("output_format", "file"), [("table", "diff.txt"), ("markdown", "diff.md")])
def test_a_diff_reads_well(lake, output_format, file):
    golden(file, shown(lake, "2026-10-26", output_format=output_format)[0])


def test_instances_differ_as_images_do_by_their_declaration(tmp_path):
    images = [image("m-1")]
    nights = [
        [instance("i-1", "m-1"), instance("i-2", "m-1")],
        [instance("i-1", "m-2", status="Stopped"), instance("i-3", "m-1")],
    ]
    for number, instances in enumerate(nights):
        write_run(tmp_path, Seen(at=f"2026-10-0{number + 1} 02:00", images=images, instances=instances))

    with diff("2026-10-01", data=tmp_path) as differences:
        rows = differences.instance_changes.fetchall()

    columns = [1, 2, 3, 5, 6, 7, 8]  # id, name, image, change, field, old, new
    assert [tuple(row[place] for place in columns) for row in rows] == [
        ("i-3", "name of i-3", "m-1", "appeared", None, None, None),
        ("i-2", "name of i-2", "m-1", "gone", None, None, None),
        ("i-1", "name of i-1", "m-2", "changed", "image_id", "m-1", "m-2"),
        ("i-1", "name of i-1", "m-2", "changed", "status", "Running", "Stopped"),
    ]


def test_a_difference_of_instances_alone_is_a_difference(tmp_path, typed):
    for number, status in enumerate(("Running", "Stopped"), start=1):
        listed = [instance("i-1", "m-1", status=status)]
        write_run(tmp_path, Seen(at=f"2026-10-0{number} 02:00", images=[image("m-1")], instances=listed))
    asked = ["diff", "--data", str(tmp_path), "--exit-code"]

    code, out, err = typed(*asked, "2026-10-01")
    assert (code, err.splitlines()[-1]) == (7, "error: Differs: instances: 1 changed")
    assert "Differences: no image differs; instances do\n" in out
    code, out, err = typed(*asked, "2026-10-01", "--format", "csv")
    assert (code, out.count("\n")) == (7, 1)
    assert "the rows are those of images; instances, in `--format json`: 1 changed" in err.splitlines()
    assert typed(*asked, "2026-10-02")[0] == 0


def test_a_diff_with_instances_reads_well(tmp_path):
    used(tmp_path)
    golden("diff_instances.txt", shown(tmp_path, "2026-08-15")[0])


def test_a_diff_reads_the_same_once_the_days_are_folded(own_lake):
    before = shown(own_lake, "2026-10-26")
    compact(own_lake, grace="0s")
    prune(own_lake)

    assert shown(own_lake, "2026-10-26") == before


def test_accounts_that_cannot_be_compared_are_told_and_why(own_lake):
    write_run(own_lake, Seen("prod", "2026-10-31 02:00", []), Seen("new", "2026-10-31 02:00", error="Refused: no"))

    golden("diff_asides.txt", shown(own_lake, "2026-10-28")[0] + "\n" + shown(own_lake, "2026-10-31")[0])


def test_the_other_formats_hold_every_row_and_the_rest_goes_aside(lake):
    out, err = shown(lake, "2026-10-26", output_format="csv")
    told = json.loads(shown(lake, "2026-10-26", output_format="json")[0])

    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["image_id"] for row in rows] == [row["image_id"] for row in told["changes"]]
    assert Counter(row["change"] for row in rows) == {"appeared": 1, "gone": 1, "changed": 3, "seen": 1}
    assert list(told) == ["accounts", "changes", "capacity_by_region"]
    assert err.splitlines()[1] == "compared with 1 account · as of 2026-10-26 02:00 UTC · verified · 4 images"


def test_many_of_a_kind_are_cut_and_the_others_are_still_there(tmp_path):
    many = [image(f"m-{number:02}", region_id=f"r-{number:02}") for number in range(30)]
    watched(tmp_path, ("verified", [image("m-old")]), ("verified", many))
    out, _ = shown(tmp_path, "2026-10-01")

    assert "… and 10 more appeared: `--format csv` writes them all" in out
    assert re.search(r"gone +m-old", out)
    assert "11 more" in out  # of 31 regions
    assert max(map(len, out.splitlines()[2:])) <= 80


def test_a_hostile_name_in_a_diff_is_shown_and_never_obeyed(tmp_path):
    hostile = image(f"m{HOSTILE}", image_name=HOSTILE, region_id=HOSTILE, status=HOSTILE)
    watched(tmp_path, ("verified", [hostile, image("m-1")]), ("verified", [image("m-1", status=HOSTILE)]))
    for output_format in ("table", "markdown", "json"):
        out = shown(tmp_path, "2026-10-01", output_format=output_format)[0]
        assert not set(out) & set("\x1b\x9b\r\t\u202e\u2028")


# ── from a shell ─────────────────────────────────────────────────────────────


def test_the_exit_code_says_that_they_differ_only_where_it_is_asked(lake, typed):
    asked = ["diff", "--data", str(lake), "2026-10-26"]
    code, out, err = typed(*asked)
    assert (code, "1 appeared" in out, err) == (0, True, "")
    code, out, err = typed(*asked, "--exit-code", "--format", "csv")
    assert (code, out.count("\n")) == (7, 7)
    assert err.splitlines()[-1] == "error: Differs: 1 appeared, 1 gone, 1 changed, 1 seen"
    assert typed(*asked, "2026-10-27", "--exit-code")[0] == 0
    assert typed(*asked, "--account", "test", "2026-10-27", "--exit-code")[0] == 2  # it was not there yet
    assert typed(*asked, "--account", "test")[1].startswith("1 account (1 stale: test) · as of 2026-10-28 02:01 UTC · ")
    assert typed("diff", "--data", str(lake))[0] == 2
