"""The questions that an owner of images asks: each is answered, and the views made for them tell what they say."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from lake_builder import Seen, image, used, utc, write_run
from reading import golden

import pipeline.reports.questions
from pipeline.errors import UnknownName
from pipeline.reports.dictionary import dictionary
from pipeline.reports.formats import write_rows
from pipeline.reports.query import query
from pipeline.reports.questions import document, question, questions
from pipeline.views.catalog import relations
from pipeline.views.connection import connect
from pipeline.views.database import write_catalog

ROOT = Path(pipeline.__file__).parent.parent
COUNT = 28
OF_USE = range(22, COUNT + 1)
"""The questions that only a lake with instances answers."""


@pytest.fixture(scope="module")
def used_lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four months of an account whose instances are listed."""
    data = tmp_path_factory.mktemp("used")
    used(data)
    write_catalog(data)
    return data


def ask(data: Path, sql: str) -> list[tuple[Any, ...]]:
    return connect(data).execute(sql).fetchall()


# ── the views made for them ──────────────────────────────────────────────────


def test_the_processor_is_what_the_architecture_says_or_else_the_compute_type(tmp_path):
    told = [
        ("x86_64", "ens_vm", "x86"),
        ("I386", None, "x86"),
        ("i686", None, "x86"),
        ("AMD64", None, "x86"),
        ("arm64", None, "ARM"),
        ("AArch64", "ens_vm", "ARM"),
        ("riscv64", "arm_vm", "other"),
        (None, "arm_bare_metal", "ARM"),
        ("", "arm_vm", "ARM"),
        (None, "armchair", "unknown"),
        (None, "ens_vm", "unknown"),
        (None, None, "unknown"),
    ]
    images = [
        image(f"m-{place}", architecture=architecture, compute_type=compute_type, image_size_gib=2**place)
        for place, (architecture, compute_type, _) in enumerate(told)
    ]
    write_run(tmp_path, Seen(images=images))
    expected: dict[tuple[str, str | None], int] = {}  # a size tells which images were counted
    for place, (architecture, _, processor) in enumerate(told):
        expected[processor, architecture] = expected.get((processor, architecture), 0) + 2**place
    found = ask(tmp_path, "select processor, architecture, image_size_gib from capacity_by_architecture")
    assert len(found) == len(expected)
    assert {row[:2]: row[2] for row in found} == expected


def test_capacity_by_architecture_adds_up_to_capacity_by_region(lake):
    add_up = "select sum(image_count), sum(image_size_gib), sum(disk_size_gib), sum(shared_image_count) "
    by_region = ask(lake, add_up + "from capacity_by_region")
    assert ask(lake, add_up + "from capacity_by_architecture") == by_region
    assert by_region[0][0] > 0


def test_disks_are_counted_by_format_and_an_image_of_two_formats_counts_in_both(tmp_path):
    raw = {"disk_size_gib": 100, "disk_format": "raw"}
    images = [
        image("m-both", 20, 30, raw),
        image("m-unsized", {"disk_size_gib": None, "disk_format": "raw"}),
        image("m-theirs", 500, raw, image_owner="others"),
        image("m-none"),
        image("m-untold", {"disk_size_gib": 5, "disk_format": None}, image_owner=None),
    ]
    write_run(tmp_path, Seen("a", images=images), Seen("b", images=[image("m-both", raw)]))
    assert ask(tmp_path, "from capacity_by_disk_format") == [
        ("raw", 2, 3, 3, 200, 1, 1, 0),
        ("qcow2", 1, 1, 2, 50, 0, 1, 0),
        (None, 1, 0, 0, 0, 0, 0, 1),
    ]


def test_a_name_is_repeated_where_two_of_an_account_s_own_images_bear_it(tmp_path):
    first, last = utc("2025-01-01"), utc("2026-01-01")
    images = [
        image("m-1", image_name="web", created_at_utc=first, region_id="a", image_size_gib=7),
        image("m-2", image_name="web", created_at_utc=last, region_id="b", image_size_gib=None),
        image("m-3", image_name="Web"),
        image("m-4", image_name="db"),
        image("m-5", image_name="db", image_owner="others"),
        *(image(f"m-{number}", image_name=name) for number, name in enumerate(["", "", None, None], start=6)),
    ]
    write_run(tmp_path, Seen("a", images=images), Seen("b", images=images[:1]))
    assert ask(tmp_path, "from repeated_names") == [("a", "web", 2, 7, 1, 2, first, last)]


def test_a_source_is_repeated_where_two_of_an_account_s_own_images_were_made_from_it(tmp_path):
    at = utc("2026-01-01")
    images = [
        image("m-1", snapshot_id="s-1", instance_id="i-1"),
        image("m-2", snapshot_id="s-1", instance_id="i-2", image_size_gib=None),
        image("m-3", snapshot_id="s-1", instance_id="i-2"),
        image("m-4", snapshot_id="s-4", instance_id="i-1", image_owner="others"),
        *(
            image(f"m-{number}", snapshot_id=source_id, instance_id=source_id)
            for number, source_id in enumerate(["", "", None, None], 5)
        ),
    ]
    write_run(tmp_path, Seen("a", images=images), Seen("b", images=images[:1]))
    assert ask(tmp_path, "from repeated_sources") == [
        ("a", "snapshot", "s-1", 3, 40, 1, at, at),
        ("a", "instance", "i-2", 2, 20, 1, at, at),
    ]


# ── the questions ────────────────────────────────────────────────────────────


def test_they_are_numbered_in_order_and_each_is_asked_once():
    asked = questions()
    assert [declared.number for declared in asked] == list(range(1, COUNT + 1))
    assert len({declared.text for declared in asked}) == len({declared.sql for declared in asked}) == COUNT


def test_every_question_is_read_from_the_file_and_nothing_of_the_file_is_lost():
    text = (Path(pipeline.reports.questions.__file__).with_suffix(".sql")).read_text("utf-8")
    assert text.count("?\n") == text.count(";\n") == COUNT
    assert all(declared.sql in text and declared.sql.count(";") == 0 for declared in questions())


@pytest.mark.parametrize("declared", questions(), ids=lambda declared: str(declared.number))
def test_each_question_is_answered_by_one_view_or_one_short_query(lake, declared):
    assert len(set(declared.views) - {"accounts"}) == (0 if declared.number == 20 else 1)
    assert len(declared.sql.splitlines()) <= 15
    assert query(connect(lake, only_lake=True), declared.sql).columns


@pytest.mark.parametrize("declared", questions(), ids=lambda declared: str(declared.number))
def test_each_question_is_answered_on_a_lake_that_can(demo_lake, used_lake, declared):
    out = io.StringIO()
    write_rows(query(connect(used_lake if declared.number in OF_USE else demo_lake), declared.sql), "csv", out)
    golden(f"question_{declared.number:02}.csv", out.getvalue())


def test_the_demo_has_an_answer_to_every_question_but_one(demo_lake):
    con = connect(demo_lake)
    unanswered = [declared.number for declared in questions() if not con.execute(declared.sql).fetchall()]
    assert {*unanswered} - {*OF_USE} <= {8}, "only hanging images may be missing from a demo"


def test_a_lake_with_instances_has_an_answer_to_every_question_of_use(used_lake):
    con = connect(used_lake)
    assert all(con.execute(declared.sql).fetchall() for declared in questions() if declared.number in OF_USE)


def test_the_document_leads_from_each_question_to_its_view_and_its_sql():
    text = document()
    headings = re.findall(r"^### (\w+)$", (ROOT / "data" / "dictionary.md").read_text("utf-8"), re.MULTILINE)
    for declared in questions():
        assert declared.sql in text
        assert f"## {declared.number}. {declared.text}\n" in text
        assert set(declared.views) <= set(headings)
    asked = [line[3:].lower() for line in text.splitlines() if line.startswith("## ")]
    anchors = [re.sub(r"[^\w\- ]", "", words).replace(" ", "-") for words in asked]
    assert re.findall(r"\]\(#([^)]+)\)", text) == anchors


def test_a_number_that_is_no_question_is_told_so():
    with pytest.raises(UnknownName, match=f"numbered from 1 to {COUNT}"):
        question(COUNT + 1)


# ── the examples of the dictionary ───────────────────────────────────────────


@pytest.mark.parametrize("relation", relations().values(), ids=lambda relation: relation.name)
def test_the_example_of_each_table_and_view_reads_it_and_runs(demo_lake, relation):
    assert re.search(rf"\bfrom {relation.name}\b", relation.example)
    assert query(connect(demo_lake, only_lake=True), relation.example).columns
    assert f"Example: `{relation.example}`" in dictionary()
