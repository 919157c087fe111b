"""What the lake answers to SQL and to names, and what it says of those that do not fit."""

from __future__ import annotations

import subprocess
import sys

import pytest
from reading import reported, written

from pipeline.errors import BadQuery, LakeDamaged, UnknownName
from pipeline.reports.query import query, read
from pipeline.views.connection import connect


def test_an_unknown_view_names_the_nearest_and_all_that_there_are(lake):
    with pytest.raises(
        UnknownName, match=r"'capcity_by_regoin': did you mean capacity_by_region.* there are images, image_disks"
    ):
        read(connect(lake), "capcity_by_regoin")
    with pytest.raises(UnknownName) as caught:
        reported(lake, "zzz\x1b[2J")
    assert "did you mean" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("select nope from images", 'Binder Error: Referenced column "nope" not found'),
        ("selec 1", "Parser Error: syntax error"),
        ("from nowhere", "Catalog Error: Table with name nowhere does not exist"),
        ("select cast('a' as integer)", "Conversion Error"),
        ("select * from read_text('/etc/passwd')", "Permission Error"),
        ("", "there is no query"),
        (" ; ", "there is no query"),
        ("copy images to 'x.csv'", "only queries are run here"),
    ],
)
def test_a_query_that_cannot_run_ends_with_duckdb_s_own_words(lake, sql, words):
    with pytest.raises(BadQuery) as caught:
        written(query(connect(lake, only_lake=True), sql), "csv")
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 4


def test_a_lake_file_that_is_gone_is_a_damaged_lake_and_no_bad_query(own_lake):
    con = connect(own_lake)
    for path in (own_lake / "lake" / "images").rglob("*.parquet"):
        path.write_bytes(b"no parquet, but long enough for one")
    with pytest.raises(LakeDamaged, match="cannot be read"):
        written(query(con, "from images_latest"), "csv")
    for path in (own_lake / "lake" / "image_disks").rglob("*.parquet"):
        path.unlink()
    with pytest.raises(LakeDamaged, match="cannot be read"):
        written(query(con, "from image_disks_latest"), "csv")


def test_of_several_statements_the_last_one_answers(lake):
    assert written(query(connect(lake), "create temp table t as select 7 as n; from t"), "csv") == "n\n7\n"


def test_a_query_and_its_csv_load_neither_pandas_nor_arrow_nor_rich_nor_the_sdk(lake):
    code = (
        "import sys; from pipeline import connect\n"
        "from pipeline.reports import formats, provenance, query\n"
        f"con = connect({str(lake)!r}, only_lake=True)\n"
        "formats.write_rows(query.query(con, 'from images_latest'), 'csv', sys.stderr)\n"
        "provenance.provenance_line(con)\n"
        "print(*sorted(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pandas", "pyarrow", "rich", "aiohttp", "alibabacloud_tea_openapi"} & set(loaded)
