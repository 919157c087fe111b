"""What an older version stored of a secret is found by `check` and removed by `rebuild --redact`; all else stays."""

import datetime as dt
import json
import shutil

import pyarrow.parquet as pq
import pytest
from objects import upload
from obstore.store import MemoryStore
from planted import ERROR, SECRET, files_with, plant
from test_old_lakes import KEPT, answers, tarfile

from pipeline import cli, connect, rebuild, run
from pipeline.credentials import key_account
from pipeline.emulator import Endpoint, Key, living_account
from pipeline.errors import EnsImagesError, LakeDamaged
from pipeline.jobs.compaction import compact
from pipeline.jobs.redaction import redact_lake
from pipeline.jobs.retention import prune
from pipeline.lake.check import check
from pipeline.storage import configuration
from pipeline.storage.bucket import bucket_store
from pipeline.storage.folder import FolderStore
from pipeline.storage.store import open_location

DAYS = (1, 2)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Two days of an account that is listed and of one that is refused, as a version without redaction stored them."""
    data = tmp_path_factory.mktemp("kept") / "data"
    with Endpoint({"emulator": Key("emulator", living_account(images=60))}) as endpoint:
        accounts = [key_account("good", "emulator", "emulator"), key_account("bad", "nobody", "emulator")]
        for day in DAYS:
            with pytest.raises(EnsImagesError):
                run(data, accounts=accounts, endpoint=endpoint.url, observed_at=dt.datetime(2026, 1, day))  # noqa: DTZ001
    plant(data)
    return data


@pytest.fixture
def lake(kept, tmp_path):
    """A copy of it for one test, in `tmp_path`."""
    return shutil.copytree(kept, tmp_path / "data")


def contents(data):
    """Every row that is no text of a library or a server."""
    with connect(data) as lake:
        return [
            lake.execute(query).fetchall()
            for query in (
                "select * exclude (error, committed_files) from observations order by all",
                "select * from images order by all",
                "select * from image_disks order by all",
                "select * exclude (error, body) from raw_pages order by all",
                "select body from raw_pages where status = 200 order by all",
                "select * exclude (last_error) from accounts order by all",
            )
        ]


def test_check_names_file_and_column_of_a_secret_and_never_its_text(lake):
    found = [str(finding) for finding in check(lake, deep=True).findings]

    assert len(found) == 2 * len(DAYS)
    assert SECRET not in str(found)
    assert "body (1 row), error (1 row), header (1 row): `ens-images rebuild --redact" in found[0]
    assert found[0].startswith("raw/observed_on=2026-01-01/")
    assert "lake/observations/observed_on=2026-01-01/" in found[2]


def test_the_command_that_check_prints_removes_every_secret_and_nothing_else(lake, typed):
    before = contents(lake)
    code, _, err = typed("rebuild", "--redact", "--data", str(lake))

    assert (code, "4 files written anew without secrets" in err) == (0, True), err
    assert files_with(lake) == []
    assert contents(lake) == before
    result = check(lake, deep=True)
    assert (result.findings, result.certificate_count) == ([], 4)
    assert redact_lake(lake) == []
    assert rebuild(lake) == []


def test_a_compacted_lake_is_redacted_with_its_manifest_and_nothing_old_stays(lake):
    compact(lake)
    with Endpoint({"emulator": Key("emulator", living_account(images=60))}) as endpoint:
        run(lake, accounts=[key_account("good", "emulator", "emulator")], endpoint=endpoint.url)
    compact(lake)  # the records of the first compaction wait for the end of their grace period
    before = contents(lake)
    assert len([name for name in files_with(lake) if "compacted_observations" in name]) == 2

    redact_lake(lake)

    assert files_with(lake) == []
    assert contents(lake) == before
    assert [path.name for path in (lake / "lake" / "manifests").iterdir()] == ["000003.json"]
    assert check(lake, deep=True).findings == []
    assert redact_lake(lake) == []


def test_records_without_their_pages_are_redacted_too(lake):
    prune(lake, raw_older_than="1d", grace="0s")
    before = contents(lake)
    redact_lake(lake)

    assert files_with(lake) == []
    assert contents(lake) == before
    assert check(lake).findings == []


def test_expired_pages_are_redacted_while_their_bytes_are_there(lake):
    prune(lake, raw_older_than="1d", grace="7d")
    assert any(finding.location.startswith("raw/") for finding in check(lake).findings)
    redact_lake(lake)

    assert files_with(lake) == []
    assert check(lake).findings == []


@pytest.mark.parametrize(
    "step", [1, 4, 5], ids=["between pages and record", "before the compaction", "before the manifest"]
)
def test_a_killed_redaction_is_mended_by_a_rebuild_and_finished_by_the_next(lake, step, monkeypatch):
    compact(lake)
    before = contents(lake)
    done = []

    def kill(how):
        def moved(self, *args, **options):
            if len(done) == step:
                raise KeyboardInterrupt
            done.append(args)
            return how(self, *args, **options)

        return moved

    for name in ("replace_file", "commit_file", "commit_files"):
        monkeypatch.setattr(FolderStore, name, kill(getattr(FolderStore, name)))
    with pytest.raises(KeyboardInterrupt):
        redact_lake(lake)
    monkeypatch.undo()

    assert contents(lake) == before  # between two steps too
    rebuild(lake)
    assert not list((lake / "raw").rglob(".damaged/*"))
    redact_lake(lake)
    assert files_with(lake) == []
    assert contents(lake) == before
    assert check(lake, deep=True).findings == []


def test_a_lake_in_a_bucket_is_redacted(lake, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    client = MemoryStore()
    monkeypatch.setattr(configuration, "object_client", lambda *_, **__: client)
    bucket_store.cache_clear()
    upload(lake, "s3://bucket/lake", "raw", "lake")
    before = contents("s3://bucket/lake")
    assert len(check("s3://bucket/lake").findings) == 2 * len(DAYS)

    redact_lake("s3://bucket/lake")

    assert contents("s3://bucket/lake") == before
    assert check("s3://bucket/lake", deep=True).findings == []
    for path in open_location("s3://bucket/lake").objects():
        target = tmp_path / "fetched" / path.key
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    assert files_with(tmp_path / "fetched") == []
    bucket_store.cache_clear()


def test_nothing_is_written_from_damaged_pages(lake):
    path = min((lake / "raw").rglob("*.parquet"))
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)

    with pytest.raises(LakeDamaged, match="moves it aside first"):
        redact_lake(lake)
    assert path.read_bytes() == content


@pytest.mark.parametrize("version", KEPT[::3], ids=[folder.name for folder in KEPT[::3]])
def test_an_old_lake_is_redacted_and_answers_as_it_did(version, tmp_path):
    with tarfile.open(version / "data.tar.xz") as archive:
        archive.extractall(tmp_path / "old", filter="data")
    data = tmp_path / "old"
    for path in (data / "raw").rglob("*.parquet"):
        pages = pq.ParquetFile(path)
        about = {name: text for name, text in pages.metadata.metadata.items() if name != b"ARROW:schema"}
        at = pages.schema_arrow.get_field_index("error")
        planted = pages.read().set_column(at, pages.schema_arrow.field(at), [[ERROR] * pages.metadata.num_rows])
        pq.write_table(planted.replace_schema_metadata(about), path)
    assert files_with(data)
    rebuild(data)
    redact_lake(data)

    assert [name for name in files_with(data) if ".damaged" not in name] == []
    before = json.loads((version / "answers.json").read_text("utf-8"))
    assert {name: answers(data)[name] for name in before} == before
    assert check(data).findings == []


def test_redact_and_into_exclude_each_other(lake, typed):
    assert typed("rebuild", "--redact", "--into", str(lake.parent / "new"), "--data", str(lake))[0] == 2
    assert "rebuild" in cli.commands.commands
