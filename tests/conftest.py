"""What the tests share: a local endpoint, a typed command, an account on it, a small lake, and Hypothesis's profile."""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import io
import ipaddress
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, Phase, settings
from lake_builder import Seen, image, utc, write_run

from pipeline import cli
from pipeline.credentials import Account, key_account
from pipeline.emulator import Endpoint, Key, living_account
from pipeline.jobs import run as run_job
from pipeline.lake.layout import VERIFIED_FILE
from pipeline.resources.images import IMAGES_RESOURCE
from pipeline.resources.instances import INSTANCES_RESOURCE
from pipeline.resources.tables import RESOURCES
from pipeline.views.database import write_catalog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Each property takes its number of examples from here, as it is or a part of it.
settings.register_profile(
    "here", max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.register_profile("thorough", settings.get_profile("here"), max_examples=400)  # `make fuzz`, every property
settings.register_profile(  # `make fuzz`, a round of bad input: new examples only
    "fuzz",
    settings.get_profile("here"),
    max_examples=200,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
)
settings.load_profile("here")

# Most tests are about images: there a run lists them alone. A test that takes `with_instances` lists both.
run_job.RESOURCES = (IMAGES_RESOURCE,)
os.environ["ENS_IMAGES_RESOURCE"] = "images"


@pytest.fixture
def with_instances(monkeypatch) -> None:
    """A run lists images and instances."""
    monkeypatch.setattr(run_job, "RESOURCES", (IMAGES_RESOURCE, INSTANCES_RESOURCE))
    monkeypatch.delenv("ENS_IMAGES_RESOURCE")


EXAMPLE = Path(__file__).parent / "data" / "describe_self_images.json"


@pytest.fixture
def example() -> bytes:
    """The published example response, byte for byte."""
    return EXAMPLE.read_bytes()


@pytest.fixture
def typed(tmp_path, monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Type a command in `tmp_path`, in this process: its exit code, what it printed, what it told."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("ENS_IMAGES_"):
            monkeypatch.delenv(name)

    def type_it(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return type_it


def in_this_process(
    cwd: Path, *arguments: str, environment: dict[str, str], stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command as a process of its own would, without what it takes to begin one.

    A profile needs a process: the vendor's library reads HOME and the keys when it is imported.
    """
    import alibabacloud_credentials.utils.auth_util  # noqa: F401  (by this process's environment, before it is another)

    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    with (
        contextlib.chdir(cwd),
        mock.patch.dict(os.environ, environment, clear=True),
        mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO((stdin or "").encode()), encoding="utf-8")),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        cli.main(arguments)
    printed = []
    for stream in (out, err):
        stream.seek(0)
        printed.append(stream.read())
    return subprocess.CompletedProcess(arguments, int(ended.value.code or 0), *printed)


@pytest.fixture
def default_sigint() -> Iterator[None]:
    """Let children be interrupted: a job in the background ignores SIGINT, and its children inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def account() -> Account:
    """The account `default` with the local endpoint's key."""
    return key_account("default", "emulator", "emulator")


@pytest.fixture
def serve() -> Iterator[Callable[..., Endpoint]]:
    """Start endpoints that stop with the test: `serve(images=1037)`, or `serve(account)`."""
    with contextlib.ExitStack() as stack:

        def start(emulated: Any = None, *, images: int = 3, seed: int = 1, **options: Any) -> Endpoint:
            emulated = emulated or living_account(images=images, seed=seed)
            return stack.enter_context(Endpoint({"emulator": Key("emulator", emulated)}, **options))

        yield start


@pytest.fixture(scope="session")
def demo_lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lake that `ens-images demo` makes, made once for all workers: not to be written to."""
    from pipeline.jobs.demo import demo

    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    made, data = root / "demo.made", root / "demo" / "data"
    with (root / "demo.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            with mock.patch.object(run_job, "RESOURCES", RESOURCES):
                demo(data, print_line=lambda _: None)
            made.touch()
    return data


def files_of(folder: Path) -> dict[Path, int]:
    """The files of a folder, and when each was changed last; a reader may write its cache."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != VERIFIED_FILE)
    return {path: path.stat().st_mtime_ns for path in paths}


@pytest.fixture(scope="session")
def kept_lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lake of `lake`, with its catalog."""
    data = write_lake(tmp_path_factory.mktemp("lake"))
    write_catalog(data)
    return data


@pytest.fixture
def lake(kept_lake: Path) -> Iterator[Path]:
    """Five days of two accounts, for all tests that write nothing there."""
    before = files_of(kept_lake)
    yield kept_lake
    assert files_of(kept_lake) == before, "take own_lake"


@pytest.fixture
def own_lake(tmp_path: Path) -> Path:
    """The same lake for one test alone, in `tmp_path`, without a catalog."""
    return write_lake(tmp_path)


def write_lake(data: Path) -> Path:
    """Five days of two accounts: growth, a failed try, a listing without proof, and a name in Chinese."""
    first = [
        image("m-5qm2r6a", 20, 100, image_name="web", image_size_gib=120),
        image("m-5qm2r6b", 40, image_name="数据库", region_id="cn-beijing", created_at_utc=utc("2024-05-01 10:00")),
        image("m-5qm2r6c", image_name="legacy", image_size_gib=None, region_id=None, created_at_utc=None),
        image("m-5qm2r6d", 8, image_name="theirs", image_owner="others", platform="ubuntu", image_size_gib=8),
    ]
    grown = image("m-5qm2r6a", 20, 300, image_name="web", image_size_gib=1320, status="Unavailable")
    new = image("m-5qm2r6e", 60, image_name="edge", platform="windows", image_size_gib=60, status="Pack_failed")
    write_run(data, Seen("prod", "2026-10-26 02:00", first))
    write_run(data, Seen("prod", "2026-10-28 02:00", [*first, new]), Seen("test", "2026-10-28 02:01", [first[0]]))
    write_run(
        data,
        Seen(
            "prod",
            "2026-10-30 02:00",
            [grown, *first[1:3], new],
            rejects=[{"field": "ImageSize"}],
            unknown_field_count=2,
        ),
        Seen("test", "2026-10-30 02:00", error="StillThrottled: account 'test' was throttled"),
    )
    return data


def page(images: list[dict[str, Any]], number: int = 1, total: int | None = None, size: int = 50) -> bytes:
    """An answer as the service spells it."""
    body = {
        "Code": 0,
        "Images": {"Image": images},
        "RequestId": "A8B8EB73-B4FD-4262-8EF6-680DF39C9BA0",
        "PageSize": str(size),
        "PageNumber": str(number),
        "TotalCount": str(len(images) if total is None else total),
    }
    return json.dumps(body, ensure_ascii=False).encode()


@pytest.fixture(scope="session")
def self_signed(tmp_path_factory) -> Path:
    """A certificate for 127.0.0.1, and for services of the vendor's, that nobody vouches for; with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
                + [x509.DNSName(name) for name in ("sts.aliyuncs.com", "oauth.aliyun.com", "ens.aliyuncs.com")]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    unlocked = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, unlocked)
    path.write_bytes(pem + certificate.public_bytes(serialization.Encoding.PEM))
    return path
