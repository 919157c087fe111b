"""The drawing in the package's docstring is the import graph."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pipeline
from pipeline.emulator import Endpoint, Key, living_account

ROOT = Path(pipeline.__file__).parent


def drawn() -> list[str]:
    """The rooms, from the ground up, as the drawing names them."""
    assert pipeline.__doc__
    return re.findall(r"^    (\w+)(?:\.py|/) ", pipeline.__doc__, flags=re.MULTILINE)


def rooms() -> dict[str, list[Path]]:
    """Every room of the package, with its files."""
    found = {path.stem: [path] for path in ROOT.glob("*.py") if not path.stem.startswith("__")}
    found |= {path.name: sorted(path.rglob("*.py")) for path in ROOT.iterdir() if (path / "__init__.py").exists()}
    return found


def imported(path: Path) -> set[str]:
    """The rooms that a file imports, at the top or inside a function, for types too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "pipeline":
            parts = node.module.split(".")
            names |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("pipeline.")}
    return names


def test_the_drawing_shows_every_room_once():
    assert sorted(drawn()) == sorted(rooms())


def test_a_room_imports_only_from_the_rooms_above_it():
    above: set[str] = set()
    for room in drawn():
        for path in rooms()[room]:
            assert imported(path) - {room} <= above, f"{path.name} imports {imported(path) - {room} - above}"
        above.add(room)


def loaded(*arguments: str) -> set[str]:
    """The modules that a command has loaded when it ends."""
    code = (
        "import sys; from pipeline.cli import main\n"
        f"sys.argv = ['ens-images', *{list(arguments)!r}]\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_versions_are_told_without_loading_what_they_are_of():
    assert not loaded("--version") & {"pandas", "pyarrow", "duckdb", "aiohttp", "rich", "alibabacloud_tea_openapi"}


def test_help_loads_neither_the_sdk_nor_pandas_nor_a_database():
    heavy = {"pandas", "pyarrow", "duckdb", "aiohttp", "rich", "alibabacloud_tea_openapi", "alibabacloud_credentials"}
    assert not loaded("--help") & heavy


def test_a_run_of_a_small_account_loads_neither_pandas_nor_numpy_nor_the_chain_of_credentials(tmp_path, monkeypatch):
    monkeypatch.setenv("ALIBABA_CLOUD_ACCESS_KEY_ID", "emulator")
    monkeypatch.setenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "emulator")
    with Endpoint({"emulator": Key("emulator", living_account(images=3))}) as endpoint:
        modules = loaded("run", "--data", str(tmp_path), "--endpoint", endpoint.url)

    assert (tmp_path / "lake.duckdb").exists()
    assert "pyarrow.parquet" in modules
    assert not modules & {"pandas", "numpy", "alibabacloud_credentials"}


def test_what_only_a_call_needs_is_not_loaded_before_the_first_one():
    # a run begins its catalogue before: while Python loads these, DuckDB works
    code = "import sys; import pipeline.flow; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"aiohttp", "alibabacloud_tea_openapi", "requests"} & set(done.stdout.split())
