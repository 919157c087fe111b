"""The page in a real browser: drawn, sorted, filtered, printed, accessible, and quiet."""

from __future__ import annotations

import datetime as dt
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from lake_builder import Seen, image, utc, write_run
from reading import HOSTILE

from pipeline.reports.html import write_page
from pipeline.text import escape_control
from pipeline.views.connection import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BAD_NAME = "</script><script>bad()</script><img src=x onerror=bad()>"
BAD_REGION = '"><b>r1</b> \u202e</script>'
WIDE, NARROW = 1440, 360


def installed() -> tuple[str | None, str]:
    """Where Chromium is, or why there is none; `make test` installs it where apt is there and may."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    return found, "" if found else "no Chromium here: `make browser` installs it where apt is there and may"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path, why = installed()
    if path is None and os.environ.get("CI") and shutil.which("apt-get") and os.geteuid() == 0:
        pytest.fail(why)  # it could have been installed, so the page would go untried
    if path is None:
        pytest.skip(why)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])  # root has no sandbox
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    """Forty days of two accounts with a little of everything, some of it hostile."""
    data = tmp_path_factory.mktemp("lake")
    base = [
        image(
            f"m-{number:03}",
            20,
            {"disk_size_gib": 40, "disk_format": "raw", "disk_type": "System"},
            image_name=f"web-{number % 7}",
            image_owner="self" if number % 6 else "others",
            region_id=f"cn-{number % 5}",
            platform=("centos", "ubuntu", "windows")[number % 3],
            architecture="x86_64",
            image_size_gib=20 + number,
            created_at_utc=utc("2026-10-01 00:00") - dt.timedelta(days=13 * number),
            status="Pack_failed" if number % 17 == 3 else "Available",
        )
        for number in range(60)
    ]
    base += [
        image("m-bad", 8, image_name=BAD_NAME, region_id=BAD_REGION, platform=HOSTILE, status="Upload_failed"),
        image("m-rtl", 8, image_name="\u05e9\u05dc\u05d5\u05dd", region_id="cn-0", status="Unavailable"),
    ]
    for day in range(8):
        at = utc("2026-09-21 02:00") + dt.timedelta(days=5 * day)
        write_run(data, Seen("prod", f"{at:%Y-%m-%d %H:%M}", base[day : 55 + day]))
    write_run(data, Seen("test", "2026-10-30 02:00", base[:3]), Seen("prod", "2026-10-30 02:00", base[7:]))
    path = data / "report.html"
    write_page(connect(data), path)
    return path


def drawn(page: Any, file: Path) -> Any:
    """Go to the page, and wait until its charts are there."""
    page.goto(file.as_uri())
    page.wait_for_function("[...document.querySelectorAll('.chart')].every(chart => chart.dataset.drawn)")
    return page


@pytest.fixture
def opened(browser: Any, file: Path) -> Iterator[Callable[..., Any]]:
    """Open the page and wait until its charts are drawn; at the end, nothing was asked for and nothing complained."""
    contexts: list[Any] = []
    complaints: list[str] = []
    requests: list[str] = []

    def go(width: int = WIDE, scheme: str = "light") -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: complaints.append(said.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.on("request", lambda request: requests.append(request.url))
        page.add_init_script("window.bad = () => console.error('the page ran what the service said')")
        return drawn(page, file)

    yield go
    for context in contexts:
        context.close()
    assert complaints == []
    assert {url for url in requests if not url.startswith("data:")} == {file.as_uri()}


LOOKS = [(WIDE, "light"), (NARROW, "light"), (WIDE, "dark"), (NARROW, "dark")]


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_every_chart_is_drawn_inside_the_page_and_nothing_scrolls_sideways(opened, width, scheme):
    page = opened(width, scheme)
    charts = page.evaluate(
        """() => [...document.querySelectorAll('.chart')].map(chart => ({
            name: chart.id,
            marks: chart.querySelectorAll('.mark-rect path, .mark-line path').length,
            words: chart.querySelectorAll('text').length,
            right: chart.querySelector('svg').getBoundingClientRect().right,
        }))"""
    )

    names = ["trend", "regions", "platforms", "formats", "ages", "changes", "failures", "cleanup"]
    assert [chart["name"] for chart in charts] == [f"chart-{name}" for name in names]
    assert all(chart["marks"] and chart["words"] > 2 for chart in charts)
    assert all(chart["right"] <= width for chart in charts)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize(("width", "scheme"), [(WIDE, "light"), (NARROW, "dark")])
def test_axe_finds_nothing_serious(opened, width, scheme):
    from axe_playwright_python.sync_playwright import Axe

    page = opened(width, scheme)
    page.evaluate("document.querySelectorAll('header details, #trend details').forEach(element => element.open = true)")
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]

    serious = [
        (violation["id"], violation["nodes"][0]["html"])
        for violation in found
        if violation["impact"] in {"serious", "critical"}
    ]
    assert serious == []


def test_headings_are_in_order_and_every_chart_tells_its_finding(opened):
    page = opened()
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3')].map(element => +element.tagName[1])")
    told = page.evaluate(
        "[...document.querySelectorAll('section')].map("
        "part => [part.querySelector('h2').textContent, part.querySelector('.chart').getAttribute('aria-label')])"
    )

    assert levels == [1, *([2] * 9)]  # the page, eight sections, the views behind it
    assert all(finding in label for finding, label in told)
    assert page.locator("header, main, footer, nav").count() == 4


def column(page: Any, table: str, heading: str) -> list[str]:
    script = """([table, heading]) => {
        const of = document.getElementById(table);
        const place = [...of.tHead.rows[0].cells].findIndex(cell => cell.textContent === heading);
        return [...of.tBodies[0].rows].map(row => row.cells[place].textContent);
    }"""
    return [str(text) for text in page.evaluate(script, [table, heading])]


def numbers(texts: list[str]) -> list[int]:
    return [int(text.replace(",", "").replace("\u2212", "-")) for text in texts if text != "\u2013"]


def test_a_table_is_sorted_by_a_click_and_by_the_keyboard(opened):
    page = opened()
    heading = page.locator("#table-failures th", has_text="GiB")
    heading.locator("button").click()
    down = numbers(column(page, "table-failures", "GiB"))
    said = heading.get_attribute("aria-sort")
    page.keyboard.press("Enter")
    up = numbers(column(page, "table-failures", "GiB"))

    assert (said, heading.get_attribute("aria-sort")) == ("descending", "ascending")
    assert down == sorted(down, reverse=True)
    assert up == sorted(down)
    assert len(set(down)) > 2

    name = page.locator("#table-failures th", has_text="name")
    name.locator("button").focus()
    page.keyboard.press("Space")
    names = column(page, "table-failures", "name")
    assert names == sorted(names)
    assert name.get_attribute("aria-sort") == "ascending"
    assert heading.get_attribute("aria-sort") is None


def test_ages_are_sorted_by_age_and_what_is_empty_goes_last(opened):
    page = opened()
    page.locator("#table-ages th button").first.click()
    assert column(page, "table-ages", "age")[0] == "2 years and over"

    button = page.locator("#table-trend th", has_text="± GiB").locator("button")
    for _ in range(2):
        button.click()
        assert column(page, "table-trend", "± GiB")[-1] == "\u2013"


@pytest.mark.parametrize("by", ["click", "keyboard"])
def test_the_legend_chooses_what_a_chart_shows(opened, by):
    page = opened()
    bars = page.locator("#chart-regions .mark-rect path")
    button = page.locator("#regions .legend button", has_text="shared with us")
    before = bars.count()
    button.click() if by == "click" else (button.focus(), page.keyboard.press("Enter"))
    page.wait_for_function(
        "many => document.querySelectorAll('#chart-regions .mark-rect path').length < many", arg=before
    )

    assert button.get_attribute("aria-pressed") == "false"
    button.click()
    page.wait_for_function(
        "many => document.querySelectorAll('#chart-regions .mark-rect path').length === many", arg=before
    )
    assert button.get_attribute("aria-pressed") == "true"


def test_with_the_last_of_its_legend_taken_away_a_chart_shows_all_again(opened):
    page = opened()
    for legend in page.query_selector_all(".legend"):
        entries = legend.query_selector_all("button")
        for entry in [candidate for candidate in entries if candidate.get_attribute("aria-pressed") == "true"]:
            entry.click()
        assert {entry.get_attribute("aria-pressed") for entry in entries} == {"true"}


def test_few_images_are_counted_on_whole_ticks_and_each_day_has_its_date(browser, tmp_path):
    write_run(tmp_path, Seen("prod", "2026-10-29 02:00", [image("m-1", 0, image_size_gib=0)]))
    write_run(tmp_path, Seen("prod", "2026-10-30 02:00", []))
    write_run(tmp_path, Seen("prod", "2026-10-31 02:00", [image(f"m-{n}", 0, image_size_gib=0) for n in range(3)]))
    complaints: list[str] = []
    write_page(connect(tmp_path), tmp_path / "few.html")
    page = browser.new_page(viewport={"width": WIDE, "height": 900})
    page.on("console", lambda said: complaints.append(said.text))
    drawn(page, tmp_path / "few.html")
    ticks = page.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll('.chart')].map(chart =>
            [chart.id, [...chart.querySelectorAll('.role-axis-label text')].map(element => element.textContent)]))"""
    )
    page.close()
    assert complaints == []
    assert {"29 Oct", "30 Oct", "31 Oct"} >= {tick for tick in ticks["chart-changes"] if "Oct" in tick} >= {"31 Oct"}
    for name in ("chart-regions", "chart-changes", "chart-trend"):
        counted = [tick for tick in ticks[name] if tick.isdigit()]
        whole = counted if name != "chart-changes" else counted[counted.index("0") :]
        assert len(counted) >= 2
        assert len(set(whole)) == len(whole)


def test_what_the_pointer_is_over_is_told_in_figures_and_hostile_text_stays_text(opened):
    page = opened()
    page.locator("#chart-failures .mark-rect path").last.scroll_into_view_if_needed()
    said = ""
    for bar in page.locator("#chart-failures .mark-rect path").all():
        bar.hover()
        page.wait_for_selector("#vg-tooltip-element.visible")
        said += page.locator("#vg-tooltip-element").inner_text()
        assert page.locator("#vg-tooltip-element b, #vg-tooltip-element img").count() == 0

    assert "image" in said
    assert escape_control(BAD_REGION) in said
    assert page.locator("#table-failures").get_by_text(BAD_NAME).count() == 1
    assert page.locator("section b, section img").count() == 0


def test_its_policy_runs_no_other_script_and_lets_nothing_out(browser, file):
    page = drawn(browser.new_page(), file)
    refused = page.evaluate(
        """async () => {
            const refused = [];
            document.addEventListener('securitypolicyviolation', event => refused.push(event.effectiveDirective));
            const script = document.createElement('script');
            script.textContent = 'window.ran = true';
            document.body.append(script);
            await fetch('data:text/plain,x').catch(() => {});
            await new Promise(done => setTimeout(done, 50));
            return [window.ran === undefined, ...refused.sort()];
        }"""
    )

    page.close()
    assert refused == [True, "connect-src", "script-src-elem"]


def test_charts_follow_the_theme_when_it_changes_and_print_in_light(opened):
    page = opened()

    def colours() -> tuple[str, str]:
        script = "name => getComputedStyle(document.querySelector(name))[name === 'body' ? 'backgroundColor' : 'fill']"
        return page.evaluate(script, "body"), page.evaluate(script, "#chart-platforms .mark-rect path")

    light = colours()
    page.emulate_media(color_scheme="dark")
    dark = colours()
    page.emulate_media(color_scheme="dark", media="print")

    assert light[0] != dark[0]
    assert light[1] != dark[1]
    assert colours() == light


def test_on_paper_everything_is_there_at_its_full_length(opened):
    page = opened()
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 700, "height": 1000})
    cut = page.evaluate(
        "[...document.querySelectorAll('section .scroll')].some(box => box.scrollHeight > box.clientHeight + 1)"
    )

    assert not cut
    assert not page.locator("nav").is_visible()
    assert page.evaluate(
        "[...document.querySelectorAll('.chart svg')].every(chart => chart.getBoundingClientRect().right <= innerWidth)"
    )
    assert len(page.pdf()) > 10_000


def test_for_paper_charts_are_drawn_as_wide_as_a_sheet_and_then_as_they_were(opened):
    page = opened()
    widths = "[...document.querySelectorAll('.chart svg')].map(element => element.getBoundingClientRect().width)"
    before = page.evaluate(widths)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert set(page.evaluate(widths)) == {680}
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(widths) == before
    assert max(before) > 680
