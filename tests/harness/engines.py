"""Ask every engine the same questions of a lake in every state, by folder, by Delta log and by view, and compare.

    python tests/harness/engines.py [--days 10] [--images 300] [--out docs/engines.md]

An engine that is not installed is left out.
"""

from __future__ import annotations

import argparse
import datetime as dt
import functools
import platform
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
from engine_readers import BY_DELTA, BY_FOLDER, DAY, Question, spark_session, version_of
from lake_states import states

from pipeline import connect
from pipeline.lake.file_set import FileSet
from pipeline.lake.folder_days import FolderDays
from pipeline.views.script import views_sql

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from engine_readers import Answer, Reader
    from lake_states import State


def questions(data: Path) -> list[Question]:
    """The questions; one of an image that was there on most days."""
    with connect(data) as con:
        query = "select image_id from images where account = 'a' group by 1 order by count(*) desc, 1 limit 1"
        image_id = con.execute(query).fetchall()[0][0]
    return [
        Question("images a day", "images", "image_size_gib"),
        Question("disks of images a day", "image_disks", "disk_size_gib"),
        Question("instances a day", "instances", "disk_size_gib"),
        Question("disks of instances a day", "instance_disks", "disk_size_gib"),
        Question("images of one account", "images", "image_size_gib", only=("account", "a")),
        Question("images by region", "images", "image_size_gib", keys=(DAY, "region_id")),
        Question("history of one image", "images", "image_size_gib", keys=(DAY, "status"), only=("image_id", image_id)),
    ]


# ── by the views ─────────────────────────────────────────────────────────────


@functools.lru_cache(maxsize=3)  # of a lake, which is asked every question before the next
def _opened(kind: str, data: Path) -> duckdb.DuckDBPyConnection:
    if kind == "connect":
        return connect(data)
    if kind == "lake.duckdb":
        return duckdb.connect(str(data / "lake.duckdb"), read_only=True)
    con = duckdb.connect()
    con.execute(views_sql(data))
    return con


def _by_view(kind: str, folder: Path, question: Question) -> Answer:
    return question.answer(_opened(kind, folder.parents[1]).execute(question.sql(question.table)).fetchall())


@functools.lru_cache(maxsize=1)  # the next lake takes the same names
def _registered(data: Path) -> None:
    from pipeline.spark import register

    register(spark_session(), data)


def _spark(folder: Path, question: Question) -> Answer:
    _registered(folder.parents[1])
    return question.answer(spark_session().sql(question.sql(question.table)).collect())


BY_VIEW: Mapping[str, Reader] = {
    **{kind: functools.partial(_by_view, kind) for kind in ("connect", "lake.duckdb", "views")},
    "pyspark": _spark,
}
"""Readers of the views: `pipeline.connect`, the catalog, the script of `ens-images views`, Spark."""
WAYS: Mapping[str, Mapping[str, Reader]] = {"folder": BY_FOLDER, "Delta log": BY_DELTA, "view": BY_VIEW}


def readers(*, with_spark: bool) -> dict[tuple[str, str], Reader]:
    """Return every reader that can be asked here, by way and engine."""
    return {
        (way, engine): reader
        for way, engines in WAYS.items()
        for engine, reader in engines.items()
        if (with_spark or engine != "pyspark") and (engine in BY_VIEW.keys() - {"pyspark"} or version_of(engine))
    }


# ── compared ─────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Comparison:
    """An answer, and what is right."""

    state: State
    way: str
    engine: str
    question: Question
    answer: Answer
    expected: Answer

    @property
    def is_equal(self) -> bool:
        """Whether every number is right, and there is any."""
        return bool(self.expected) and self.answer == self.expected

    def __str__(self) -> str:
        differing = dict(sorted(set(self.answer.items()) ^ set(self.expected.items()))[:6])
        return f"{self.state.name}, {self.question.name}, by {self.way}, {self.engine}: {differing} differ"


def answers(lakes: Sequence[State], asked: Sequence[Question]) -> dict[tuple[str, str], Answer]:
    """Answer every question of every lake by `connect`, by the names of lake and question."""
    return {
        (lake.name, question.name): BY_VIEW["connect"](lake.data / "lake" / question.table, question)
        for lake in lakes
        for question in asked
    }


def compare(
    lakes: Sequence[State],
    asked: Sequence[Question],
    readers: Mapping[tuple[str, str], Reader],
    right: Mapping[tuple[str, str], Answer],
) -> Iterator[Comparison]:
    """Ask these readers every question of every lake; `right` are the answers by the views."""
    for lake in lakes:
        first = str(FolderDays.of(FileSet.read(lake.data)).complete_from)
        for question in asked:
            views = right[lake.views_as or lake.name, question.name]
            folders = right[lake.folders_as or lake.views_as or lake.name, question.name]
            expected = {
                "folder": {key: value for key, value in folders.items() if key[0] >= first},
                "Delta log": {key: value for key, value in views.items() if key[0] >= first},
                "view": views,
            }
            for (way, engine), reader in readers.items():
                answer = reader(lake.data / "lake" / question.table, question)
                yield Comparison(lake, way, engine, question, answer, expected[way])


# ── the page ─────────────────────────────────────────────────────────────────

LABELS = {
    "duckdb": "DuckDB",
    "pyarrow": "PyArrow",
    "polars": "Polars",
    "datafusion": "DataFusion",
    "pyspark": "Spark",
    "connect": "`pipeline.connect`",
    "lake.duckdb": "`lake.duckdb`, in DuckDB",
    "views": "script of `ens-images views`, in DuckDB",
}
TEXT = """\
# Engines: the numbers of the views, by any engine

Every engine is asked the same questions of one lake: by the **folder** of a table
(`lake/<table>/observed_on=*/*.parquet`), by its **Delta log**, and by the **views**. `make engines` wrote this page
on {date}, with Python {python} on {machine}: {count} answers, {unequal} of them unequal.

## Result

`✓`: rows and GiB of all {questions} questions are right, for every day and key.

{table}

{spark}The states, each made by the commands themselves:

{meanings}

¹ After the kill the folders hold {shown} more images than the views: exactly those of the killed run, whose files were
in the tables and whose commit record was not. Neither the views nor the Delta logs have them. The next command that
writes removes them; here it is a `rebuild`, which then publishes the run.

## Numbers

Rows / GiB by the views, over all days. In `retained`, the folders and the Delta logs hold the days from {first} on,
as the table `partitions` says: in brackets.

{numbers}

## What is promised

- **Folders** hold the rows of the views at any time but while a command commits, and after a kill until the next one
  ([data/README.md](../data/README.md#what-a-reader-of-the-folders-can-rely-on)). Two tables that are read while a run
  commits may show different states. The files of a run appear with `images` last: no image is there without its disks
  and the instances of its run.
- **Retention** takes days from the folders and the Delta logs, never from the views, and only where the user sets it.
- **Delta logs** name committed files only. They are written after the commit, one table after the other; a log that
  could not be written lags behind, which the run and `status` report, until the next command that writes.
- **The latest observation** of an account, and accounts with two names, only the views know.
- **Not tested**: Trino, Athena, Databricks, and Delta logs by Spark or DuckDB, whose readers are in no Python package.
  chdb reads a Delta table below the current folder only.
"""


def page(found: Sequence[Comparison], lakes: Sequence[State], right: Mapping[tuple[str, str], Answer]) -> str:
    """Write the page."""
    counts: dict[tuple[str, str, str], list[bool]] = {}
    for one in found:
        counts.setdefault((one.way, one.engine, one.state.name), []).append(one.is_equal)
    header = ["by", "engine", "version", *(lake.name for lake in lakes)]
    lines = []
    for way, engine in dict.fromkeys((one.way, one.engine) for one in found):
        version = version_of({"connect": "duckdb", "lake.duckdb": "duckdb", "views": "duckdb"}.get(engine, engine))
        cells = []
        for lake in lakes:
            equal = counts[way, engine, lake.name]
            note = " ¹" if lake.folders_as and way == "folder" else ""
            cells.append(f"✓{note}" if all(equal) else f"{sum(equal)} of {len(equal)}")
        lines.append([way, LABELS.get(engine, engine), version or "", *cells])
    killed = next(lake for lake in lakes if lake.folders_as)
    retained = next(lake for lake in lakes if lake.name == "retained")
    first = str(FolderDays.of(FileSet.read(retained.data)).complete_from)
    asked = list(dict.fromkeys(one.question for one in found))
    question = asked[0].name
    shown = _total(right[killed.folders_as, question])[0] - _total(right[killed.name, question])[0]
    numbers = [
        [one.name, *(_cell(right[lake.name, one.name], first if lake is retained else "") for lake in lakes)]
        for one in asked
    ]
    has_spark = any(one.engine == "pyspark" for one in found)
    return TEXT.format(
        date=f"{dt.datetime.now(dt.UTC):%F}",
        python=platform.python_version(),
        machine=f"{platform.system()} {platform.machine()}",
        count=f"{len(found):,}",
        unequal=sum(not one.is_equal for one in found) or "none",
        questions=len(asked),
        table=_markdown(header, lines),
        spark="" if has_spark else "Spark was left out: it needs Java 17.\n\n",
        meanings="\n".join(f"- `{lake.name}`: {lake.meaning}" for lake in lakes),
        shown=shown,
        first=first,
        numbers=_markdown(["question", *(lake.name for lake in lakes)], numbers),
    )


def _total(answer: Answer) -> tuple[int, int]:
    return sum(rows for rows, _ in answer.values()), sum(gib for _, gib in answer.values())


def _cell(answer: Answer, first: str) -> str:
    cells = [_total(answer)]
    if first:
        cells.append(_total({key: value for key, value in answer.items() if key[0] >= first}))
    texts = [f"{rows:,} / {gib:,}" for rows, gib in cells]
    return texts[0] if len(texts) == 1 else f"{texts[0]} ({texts[1]})"


def _markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> int:
    """Compare, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=10)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        lakes = list(states(Path(root), days=options.days, images=options.images))
        asked = questions(lakes[0].data)
        right = answers(lakes, asked)
        found = list(compare(lakes, asked, readers(with_spark=True), right))
        text = page(found, lakes, right)
    wrong = [str(one) for one in found if not one.is_equal]
    sys.stdout.writelines(f"{line}\n" for line in wrong)
    if options.out is None:
        sys.stdout.write(text)
    elif not wrong:
        options.out.write_text(text, "utf-8")
    return bool(wrong)


if __name__ == "__main__":
    raise SystemExit(main())
