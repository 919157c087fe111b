"""The trust line: whose images, as of when, how far proven."""

from __future__ import annotations

from lake_builder import Seen, image, instance, write_run

from pipeline.reports.provenance import provenance_line
from pipeline.views.connection import connect, connect_empty


def test_the_trust_line_of_one_account(tmp_path):
    write_run(tmp_path, Seen(images=[image(f"m-{number}") for number in range(143)]))
    assert provenance_line(connect(tmp_path)) == (
        "1 account · as of 2026-10-30 02:00 UTC · verified · 143 images · 0 rejects · 0 unknown fields"
    )


def test_the_trust_line_of_several_accounts_names_the_stale_ones_and_counts_the_certificates(own_lake):
    write_run(
        own_lake,
        Seen("late", "2026-10-31 02:00", error="Refused: no"),
        Seen("new", "2026-10-31 02:00", [image("m")], "counted"),
    )
    assert provenance_line(connect(own_lake)) == (
        "4 accounts (1 stale: test; 1 never published: late) · as of 2026-10-28 02:01 to 2026-10-31 02:00 UTC"
        " · 1 counted, 2 verified · 6 images · 1 reject · 2 unknown fields"
    )


def test_the_trust_line_adds_the_listing_of_instances_and_its_rejects(tmp_path):
    rejects = [
        {"resource": name, "item_id": "x", "field": "Size", "reason": "is no number", "raw_json": "1"}
        for name in ("images", "instances", "instances")
    ]
    instances = [instance("i-1", "m"), instance("i-2", "m")]
    write_run(tmp_path, Seen(images=[image("m")], instances=instances, rejects=rejects))
    assert provenance_line(connect(tmp_path)) == (
        "1 account · as of 2026-10-30 02:00 UTC · verified · 1 image · instances verified · 2 instances"
        " · 3 rejects · 0 unknown fields"
    )


def test_the_trust_line_says_whose_instances_and_as_of_when_if_not_those_of_the_images(tmp_path):
    write_run(tmp_path, Seen("a", images=[image("m")], instances=[instance("i", "m")], instances_certificate="counted"))
    write_run(tmp_path, Seen("a", "2026-10-31 02:00", [image("m")]), Seen("b", "2026-10-31 02:00", [image("m")]))
    assert provenance_line(connect(tmp_path)) == (
        "2 accounts · as of 2026-10-31 02:00 UTC · verified · 2 images"
        " · instances of 1 account as of 2026-10-30 02:00 UTC counted · 1 instance · 0 rejects · 0 unknown fields"
    )


def test_the_trust_line_names_three_accounts_at_most_and_obeys_none(tmp_path):
    names = ["a\x1b[2J", "b", "c", "d", "e"]
    write_run(tmp_path, *(Seen(name, error="Refused: no") for name in names))
    expected = "5 accounts (5 never published: a\\x1b[2J, b, c and 2 more) · nothing is published"
    assert provenance_line(connect(tmp_path)) == expected


def test_the_trust_line_of_an_empty_lake():
    assert provenance_line(connect_empty()) == "0 accounts · nothing is published"
