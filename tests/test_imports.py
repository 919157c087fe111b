"""Each command loads no more than it needs. The order of the packages is a contract in pyproject.toml."""

import subprocess
import sys

from pipeline.emulator import Endpoint, Key, living_account


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


def test_the_version_loads_none_of_the_packages_it_names():
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


def test_a_run_loads_what_a_call_needs_only_at_the_first_call():
    # a run begins its catalog before: while Python loads these, DuckDB works
    code = "import sys; import pipeline.jobs.run; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"aiohttp", "alibabacloud_tea_openapi", "requests"} & set(done.stdout.split())
