"""The dictionary tells every column."""

from __future__ import annotations

import io
import json

import pytest

from pipeline.errors import UnknownName
from pipeline.reports.dictionary import describe, dictionary, write_description
from pipeline.views.catalog import relations


def test_describe_tells_type_unit_api_field_and_meaning():
    rows = {row[0]: row[1:] for row in describe("images").rows}
    assert rows["image_size_gib"] == ("BIGINT", "GiB", "ImageSize", "Size of the image.")
    assert rows["account"][:3] == ("VARCHAR", None, None)
    assert [row[0] for row in describe("image_age").rows][-1] == "age_days"


def test_describe_without_a_name_tells_every_column():
    rows = list(describe().rows)
    assert len(rows) == sum(len(relation.columns) for relation in relations().values())
    assert all(kind and meaning for _, _, kind, _, _, meaning in rows)


def test_describe_refuses_a_name_that_is_none():
    with pytest.raises(UnknownName, match="did you mean image_age"):
        describe("image_agee")


def test_the_dictionary_has_the_tables_first_then_the_views_each_with_its_grain_and_every_column():
    text = dictionary()
    sections = [line.removeprefix("### ") for line in text.splitlines() if line.startswith("### ")]
    assert sections == list(relations())
    for relation in relations().values():
        assert relation.grain in text
        for column in relation.columns:
            assert f"| {column.name} | " in text
    assert text.index("## Tables") < text.index("### images") < text.index("## Views") < text.index("### images_latest")


@pytest.mark.parametrize("name", ["images", "stale_images"])
def test_what_is_described_for_a_person_says_what_a_row_is_and_shows_a_query(name):
    relation = relations()[name]
    for output_format in ("table", "markdown"):
        out = io.StringIO()
        write_description(name, output_format, out)
        said = out.getvalue()
        assert relation.grain in said
        assert relation.example
        assert relation.example in said
        assert all(column.name in said for column in relation.columns)


def test_what_is_described_for_a_machine_is_rows_and_nothing_else():
    out = io.StringIO()
    write_description("images", "json", out)
    assert [row["column"] for row in json.loads(out.getvalue())] == [
        column.name for column in relations()["images"].columns
    ]
