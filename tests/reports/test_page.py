"""The page: one file, the same bytes for the same lake, and text of the service stays text."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pytest
from lake_builder import Seen, image, utc, write_run
from reading import HOSTILE

from pipeline.errors import BadSetting
from pipeline.reports import html as pages
from pipeline.reports.html import TABLE_ROWS, render_page, write_page
from pipeline.reports.provenance import provenance_line
from pipeline.reports.standing import build_report
from pipeline.reports.standing.model import format_value
from pipeline.storage import folder as files
from pipeline.views.connection import connect, connect_empty

if TYPE_CHECKING:
    from pipeline.reports.standing.model import Section


class Read(HTMLParser):
    """What a page holds: its elements and its words."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def findings(data: Path) -> dict[str, str]:
    return {section.name: section.finding for section in build_report(connect(data)).sections}


def cells(section: Section) -> list[list[str]]:
    return [[format_value(row[column.name], column) for column in section.table.columns] for row in section.table.rows]


def told(data: Path, name: str) -> Section:
    return next(section for section in build_report(connect(data)).sections if section.name == name)


@pytest.fixture(scope="module")
def html(kept_lake) -> str:
    """The page of the lake of `lake`."""
    with connect(kept_lake) as con:
        return render_page(con)


def test_the_same_lake_gives_the_same_bytes_in_another_process_too(lake, html, tmp_path):
    path = tmp_path / "report.html"
    command = [sys.executable, "-m", "pipeline", "report", "--data", str(lake), "--html", str(path)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "TZ": "Asia/Shanghai", "LANG": "C"}
    )

    with connect(lake) as con:
        assert path.read_text("utf-8") == render_page(con) == html
        assert done.stdout == ""
        assert done.stderr == (f"a page in {str(path)!r}: open it in any browser\n{provenance_line(con)}\n")


def test_every_title_is_what_was_found(lake):
    assert findings(lake) == {
        "trend": "Grew by 1,380 (10.9 times) in 4 days, to 1,520 GiB",
        "regions": "99% of the GiB is in cn-wulanchabu",
        "platforms": "96% of the GiB runs centos",
        "formats": "All 540 GiB on disk in qcow2",
        "ages": "1% of the GiB is a year old or more",
        "changes": "1 appeared, 1 gone, 1 changed in 4 days",
        "failures": "1 failed, 1 unavailable",
        "cleanup": "No image matches the standing rule",
    }


def test_the_figures_at_the_top_are_those_of_the_lake(lake):
    figures = {figure.label: (figure.value, figure.unit, figure.note) for figure in build_report(connect(lake)).figures}

    assert figures == {
        "Own images": ("5", "", "+2 in 4 days"),
        "Capacity": ("1,520", "GiB", "+1,380 in 4 days"),
        "A year old or more": ("1%", "of GiB", "20 GiB"),
        "Cleanup candidates": ("0", "GiB", "0 images"),
        "Cannot be used": ("2", "images", "1 failed, 1 unavailable"),
    }


def test_what_could_go_is_told_with_what_it_frees_and_by_which_rule(tmp_path):
    old, new = utc("2024-01-01 00:00"), utc("2026-10-01 00:00")
    x86 = {"architecture": "x86_64"}
    images = [
        image("m-1", image_name="web", created_at_utc=old, image_size_gib=40, region_id="cn-beijing", **x86),
        image("m-2", image_name="web", created_at_utc=new, image_size_gib=50, **x86),
        image("m-3", image_name="db-20240101", created_at_utc=old, image_size_gib=7, **x86),
        image("m-4", image_name="db-20261001", created_at_utc=new, image_size_gib=8, **x86),
    ]
    write_run(tmp_path, Seen(images=images))
    section = told(tmp_path, "cleanup")

    assert section.finding == "1 image can be deleted, freeing 40 GiB; whether an instance uses one is not known"
    assert cells(section) == [["m-1", "web", "cn-beijing", "1,033", "1", "not known", "40"]]
    assert section.notes[0].startswith("The rule: our own, 180 days old or more")
    assert section.notes[1].endswith("2 images can be deleted, freeing 47 GiB.")


def test_the_sql_that_is_shown_answers_what_is_shown(lake):
    """Run as it stands on the page, on any connection: the cells of each table are in its answer, in their order."""
    for section in build_report(connect(lake)).sections:
        with connect(lake) as con:
            for query in section.queries:
                answer = con.execute(query.sql)
                names = [column[0] for column in answer.description or ()]
                rows = answer.fetchall()
                if "table" not in query.purpose:
                    continue
                assert len(rows) == section.table.count or len(section.table.rows) == TABLE_ROWS
                for column in section.table.columns:
                    if column.kind == "number" and column.name in names:
                        said = [format_value(row[column.name], column) for row in section.table.rows]
                        found = [row[names.index(column.name)] for row in rows][: len(said)]
                        if section.name == "ages":
                            found = found[: len(said)]
                        assert said == ["–" if value is None else f"{value:,}" for value in found]  # noqa: RUF001


def test_the_page_brings_all_that_it_needs_and_its_policy_allows_no_more(html):
    found = Read(html)
    sources = [
        value
        for tag, attributes in found.tags
        for name, value in attributes.items()
        if name in {"src", "href", "srcset", "action", "data", "poster"} and tag != "svg"
    ]
    policy = next(a["content"] for t, a in found.tags if t == "meta" and a.get("http-equiv")) or ""

    assert all(source and source.startswith(("#", "data:,")) for source in sources)
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert not any(name.startswith("on") or name == "style" for _, attributes in found.tags for name in attributes)


def test_whatever_the_service_says_stays_text(tmp_path):
    ends = "</script><script>window.bad = 1</script>"
    names = [ends, '"><img src=x onerror=bad()>', "{{ 7 * 7 }}", "\u202eevil", HOSTILE, "שלום", "<!--"]
    images = [
        image(f"m-{number}{name}", 8, image_name=name, region_id=name, platform=name, status=f"{name}_failed")
        for number, name in enumerate(names)
    ]
    write_run(tmp_path, Seen(f"prod{ends}", images=images))
    html = render_page(connect(tmp_path))
    found = Read(html)
    calm = Read(render_page(connect_empty()))

    of_charts = [attributes for tag, attributes in found.tags if tag == "script" and "data-chart" in attributes]
    scripts = [attributes for tag, attributes in found.tags if tag == "script" and "data-chart" not in attributes]
    assert {tag for tag, _ in found.tags} - {"figure", "button", "span", "rect", "bdi", "td", "svg"} <= {
        tag for tag, _ in calm.tags
    } | {"script", "li", "a", "ul", "small", "polyline", "tfoot", "h2", "p", "div"}
    assert len(scripts) == 2
    assert len(of_charts) == html.count('<script type="application/json"')
    words = "".join(found.words)
    assert "{{ 7 * 7 }}" in words
    assert "\\u202eevil" in words
    assert "שלום" in words
    assert '"><img src=x onerror=bad()>' in words
    assert not any(character in html for character in "\x1b\x9b\u202e\u2028\r")


def test_a_page_without_a_row_says_so_and_draws_nothing():
    html = render_page(connect_empty())

    assert "Edge images of 0 accounts" in html
    assert "No day yet" in html
    assert "data-chart=" not in html.split("<script>")[0]


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (
            [],
            {
                "regions": "No image of our own",
                "changes": "Nothing to compare yet: changes show from the second observation on",
                "failures": "No image failed",
            },
        ),
        (
            [image("m-1", image_size_gib=None)],
            {"trend": "1 image on 2026-10-30, the first day", "ages": "0% of the images are a year old or more"},
        ),
        (
            [image("m-1")],
            {"trend": "20 GiB on 2026-10-30, the first day", "regions": "All 20 GiB in cn-wulanchabu"},
        ),
    ],
    ids=["empty", "no size", "new"],
)
def test_an_account_that_is_empty_or_new_or_has_no_sizes_reads_well(tmp_path, images, expected):
    write_run(tmp_path, Seen(images=images))
    found = render_page(connect(tmp_path))

    assert findings(tmp_path).items() >= expected.items()
    assert found.endswith("</html>")
    assert '<details class="accounts">' in found


def test_accounts_that_want_a_look_are_opened(html):
    assert '<details class="accounts" open>' in html
    assert "StillThrottled" in html


def test_a_long_table_is_cut_and_says_how_many_there_are(tmp_path):
    images = [image(f"m-{number:04}", status="Pack_failed", region_id=f"r-{number:04}") for number in range(1234)]
    write_run(tmp_path, Seen(images=images))
    html = render_page(connect(tmp_path))
    section = told(tmp_path, "failures")

    assert f"The first {TABLE_ROWS} of 1,234; <code>ens-images export failed_images" in html
    assert section.chart is not None
    assert section.chart.at[-1] == "1,222 others"
    assert sum(value or 0 for row in section.chart.values for value in row) == 1234


def test_three_months_of_changes_are_told_week_by_week(tmp_path):
    for number, at in enumerate(("2026-01-07", "2026-04-10", "2026-10-29")):
        write_run(tmp_path, Seen(at=f"{at} 02:00", images=[image(f"m-{number}")]))
    chart = told(tmp_path, "changes").chart

    assert chart is not None
    assert chart.entry == "week from, UTC"
    assert (chart.at[0], chart.at[-1], len(chart.at)) == ("2026-01-05", "2026-10-26", 43)
    assert [series.name for series in chart.series] == ["gone", "appeared"]
    assert sum(abs(value or 0) for row in chart.values for value in row) == 4


def test_without_what_draws_pages_the_error_says_what_to_install(lake, tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "find_spec", lambda name: None if name == "altair" else name)

    with pytest.raises(
        BadSetting, match=re.escape("needs altair, not installed here: pip install 'ens-images[report]'")
    ):
        write_page(connect(lake), tmp_path / "report.html")


def test_where_a_page_cannot_be_written_the_error_says_why(lake, tmp_path):
    con = connect(lake)
    with pytest.raises(BadSetting, match="there is no folder"):
        write_page(con, tmp_path / "nowhere" / "report.html")
    with pytest.raises(BadSetting, match="is a folder"):
        write_page(con, tmp_path)


def test_a_page_goes_to_standard_output_too(lake, capfdbinary):
    con = connect(lake)
    write_page(con, Path("-"))
    assert capfdbinary.readouterr().out == render_page(con).encode()


def test_a_page_is_there_whole_or_as_it_was(lake, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("the old one", "utf-8")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "commit_file", full)
    with pytest.raises(BadSetting, match="cannot be written: No space left on device"):
        write_page(connect(lake), path)

    assert path.read_text("utf-8") == "the old one"
    assert [path.name for path in tmp_path.glob(".*report*")] == []


def test_a_connection_is_left_as_it_was(lake):
    con = connect(lake)
    render_page(con)

    assert con.execute("select count(*) from duckdb_tables() where temporary").fetchall() == [(0,)]
    with pytest.raises(duckdb.Error):
        con.execute("from temp.image_changes")
