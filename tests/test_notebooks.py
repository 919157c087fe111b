"""Each notebook runs from a clean checkout against the demo's lake, is kept without outputs, and draws one picture."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import nbclient
import nbformat
import pytest
import vl_convert

import pipeline
from pipeline.jobs.demo import demo
from pipeline.views.connection import connect

if TYPE_CHECKING:
    from nbformat import NotebookNode

FOLDER = Path(pipeline.__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))


def notebook(name: str) -> NotebookNode:
    return nbformat.read(FOLDER / name, as_version=4)


OF_USE = "04_in_use.ipynb"


@pytest.fixture
def used_lake(with_instances, tmp_path: Path) -> Path:  # noqa: ARG001  (what a run lists)
    """Some days of an account with instances."""
    data = tmp_path / "data"
    demo(data, days=3, images=40, instances=25, print_line=lambda _: None)
    return data


def test_there_is_a_notebook_of_capacity_of_age_of_changes_and_of_use():
    assert NOTEBOOKS == ["01_capacity.ipynb", "02_age.ipynb", "03_changes.ipynb", OF_USE]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_kept_without_outputs_asks_a_question_and_holds_no_pipeline_code(name):
    found = notebook(name)
    code = [cell for cell in found.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert found.cells[0].source.splitlines()[0].endswith("?")
    assert found.cells[-1].source.startswith("## Interpretation")
    text = "\n".join(cell.source for cell in code)
    assert set(re.findall(r"^(?:from|import) (\S+)", text, re.MULTILINE)) <= {"altair", "os", "pandas", "pipeline"}
    assert not re.search(r"^\s*(?:def|class) ", text, re.MULTILINE)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_and_draws_one_picture_whose_title_states_the_finding(request, name, monkeypatch):
    lake = request.getfixturevalue("used_lake" if name == OF_USE else "demo_lake")
    monkeypatch.setenv("ENS_IMAGES_DATA", str(lake))
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    found = notebook(name)
    nbclient.NotebookClient(found, timeout=120, resources={"metadata": {"path": str(FOLDER)}}).execute()
    outputs = [output for cell in found.cells if cell.cell_type == "code" for output in cell.outputs]
    pages = [
        output["data"]["text/html"] for output in outputs if "vega-lite" in output.get("data", {}).get("text/html", "")
    ]
    assert len(pages) == 1
    spec = json.JSONDecoder().raw_decode(pages[0], re.search(r"\)\((?=\{)", pages[0]).end())[0]
    if folder := os.environ.get("ENS_IMAGES_PICTURES"):  # to look at them
        (Path(folder) / f"{name}.png").write_bytes(vl_convert.vegalite_to_png(spec, scale=1.5))
    assert re.search(r"\d", spec["title"])
    assert spec["datasets"]


def test_a_frame_carries_the_types_that_an_analyst_expects_also_where_a_value_is_missing(lake):
    frame = connect(lake).sql("select image_size_gib, created_at_utc from image_age").df()
    assert frame["image_size_gib"].isna().any()
    assert frame["created_at_utc"].isna().any()
    assert frame.dtypes.astype(str).to_dict() == {"image_size_gib": "Int64", "created_at_utc": "datetime64[us]"}
