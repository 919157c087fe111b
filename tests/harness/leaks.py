"""Secrets of every credential mode, planted in every place that a library or a server could quote: none may come out.

    python tests/harness/leaks.py --rounds 20 --seed 1

    credentials    each mode, answer and quotation: the product's own account meets a service that quotes its request;
                   the network alone is replaced                                              resolve_everywhere
    service        the same quotations by a real server, to one run of many accounts          run_everywhere
    proxy          a real proxy that refuses, and quotes what it was sent                     run_everywhere, doctor
    bucket         the same by the service of a bucket                                        read_buckets
    what is read   messages, causes, logs, raw pages, lake, summary, exports, page            planted_in

Secrets are made anew from the seed. A finding names place and secret; exit code 1.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import html
import http.server
import io
import itertools
import json
import logging
import os
import random
import re
import string
import sys
import tempfile
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from unittest import mock
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import pyarrow.parquet as pq
import urllib3
from loopback import LoopbackServer
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import MaxRetryError

from pipeline import connect, export
from pipeline.credentials import environment_account, key_account, profile_account
from pipeline.errors import EnsImagesError
from pipeline.extract.probe import probe
from pipeline.jobs.scheduled import scheduled_run
from pipeline.lake.check import check
from pipeline.reports.html import write_page
from pipeline.settings import AfterRun
from pipeline.storage.store import open_location

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from pipeline.credentials import Account

EXPIRED: Final = 1
FUTURE: Final = 4_000_000_000


@dataclass
class Secrets:
    """The secrets of one round, by name; what a server received of a signature is added."""

    rng: random.Random
    by_name: dict[str, str] = field(default_factory=dict)
    requests: int = 0
    """Requests of the credential modes that the network of `resolve_everywhere` met."""

    @classmethod
    def of(cls, seed: int) -> Secrets:
        """Make the same for the same seed."""
        return cls(random.Random(seed))  # noqa: S311  (they open nothing)

    def key(self, name: str) -> str:
        """Make an access key's secret: thirty letters and digits."""
        letters = string.ascii_letters + string.digits
        return self.by_name.setdefault(name, "aB3" + "".join(self.rng.choices(letters, k=27)))

    def token(self, name: str) -> str:
        """Make a token as STS has them, with the characters that JSON and URLs escape."""
        made = base64.b64encode(self.rng.randbytes(72)).decode()
        return self.by_name.setdefault(name, f"CAIS{made[:40]}+/{made[40:]}=")

    def password(self, name: str) -> str:
        """Make a password with the characters that divide a URL."""
        word = "".join(self.rng.choices(string.ascii_letters, k=8))
        return self.by_name.setdefault(name, f"{word}:/?#@&={word[::-1]}")

    def signature(self, value: str) -> None:
        """Remember a signature that was sent: with it the request can be sent again."""
        self.by_name[f"signature {value}"] = value


# ── quotations ───────────────────────────────────────────────────────────────

Request = tuple[str, dict[str, str], str]
"""Address, headers, body, as a server receives them."""


def _json_message(request: Request) -> bytes:
    address, headers, body = request
    lines = "\n".join(f"{name}:{value}" for name, value in headers.items())
    message = f"Server string to sign is:POST\n{address}\n{lines}\n{body}"
    return json.dumps({"Code": "SignatureDoesNotMatch", "Message": message}).encode()


def _as_xml(request: Request) -> bytes:
    rows = "".join(f"<{name}>{html.escape(value)}</{name}>" for name, value in request[1].items())
    return f"<Error><Code>Forbidden</Code><Request>{rows}</Request></Error>".encode()


def _as_page(request: Request) -> bytes:
    rows = "".join(f"<tr><td>{name}: {html.escape(value)}" for name, value in request[1].items())
    return f'<html><a href="{html.escape(request[0])}">again</a><table>{rows}</table>{request[2]}</html>'.encode()


def _without_labels(request: Request) -> bytes:
    words = [*re.findall(r"[^\s=&;,]{12,}", " ".join(request[1].values()))]
    return json.dumps({"Code": "Forbidden", "Message": f"refused: {'; '.join(words)}"}).encode()


QUOTATIONS: Final[dict[str, Callable[[Request], bytes]]] = {
    "headers in a message": _json_message,
    "json": lambda request: json.dumps({"Code": "Forbidden", "Request": request}).encode(),
    "json in json": lambda request: json.dumps({"Code": "X", "Message": json.dumps(request)}).encode(),
    "json with escaped slashes": lambda request: json.dumps({"Code": "X", "h": request}).replace("/", "\\/").encode(),
    "json with escaped ampersands": lambda request: (
        json.dumps({"Code": "X", "u": request}).replace("&", "\\u0026").encode()
    ),
    "xml": _as_xml,
    "page": _as_page,
    "python": lambda request: repr(request).encode(),
    "python bytes": lambda request: repr([(k.encode(), v.encode()) for k, v in request[1].items()]).encode(),
    "form": lambda request: urlencode(request[1]).encode() + b"&" + request[2].encode(),
    "address": lambda request: f"cannot open {request[0]} for you".encode(),
    "address in an address": lambda request: f"https://login.example/?next={quote(request[0], safe='')}".encode(),
    "lines": lambda request: "\n".join(f"{name}: {value}" for name, value in request[1].items()).encode(),
    "half a json": lambda request: json.dumps(request)[: -len(request[2]) - 9].encode(),
    "without labels": _without_labels,
}


# ── credentials ──────────────────────────────────────────────────────────────


def profiles(home: Path, made: Secrets) -> list[dict[str, Any]]:
    """Return a profile of every mode, with secrets of its own; files that they name are written below `home`."""
    (home / "oidc").write_text(f"eyJhbGciOi.{made.token('oidc')}.x")
    (home / "helper").write_text(
        f"#!/bin/sh\necho 'no {made.token('external token')}, secret {made.key('external secret')}' >&2\nexit 3\n"
    )
    (home / "helper").chmod(0o700)
    key = {"access_key_id": "LTAIxxxxxxxxxxxxxxxx"}
    role = {"ram_role_arn": "acs:ram::1:role/x", "ram_session_name": "x", "expired_seconds": 900}
    sts = {"sts_token": made.token("sts"), "access_key_secret": made.key("sts secret")}
    return [
        {"name": "AK", "mode": "AK", **key, "access_key_secret": made.key("AK")},
        {"name": "StsToken", "mode": "StsToken", **key, **sts},
        {"name": "RamRoleArn", "mode": "RamRoleArn", **key, **role, "access_key_secret": made.key("RamRoleArn")},
        {"name": "ChainableRamRoleArn", "mode": "ChainableRamRoleArn", **role, "source_profile": "StsToken"},
        {"name": "EcsRamRole", "mode": "EcsRamRole", "ram_role_name": "x"},
        {
            "name": "OIDC",
            "mode": "OIDC",
            **role,
            "role_session_name": "x",
            "oidc_provider_arn": "acs:ram::1:oidc-provider/x",
            "oidc_token_file": str(home / "oidc"),
        },
        {
            "name": "CloudSSO",
            "mode": "CloudSSO",
            "cloud_sso_sign_in_url": "https://signin.invalid/x/login",
            "cloud_sso_account_id": "1",
            "cloud_sso_access_config": "x",
            "access_token": made.token("sso"),
            "cloud_sso_access_token_expire": FUTURE,
        },
        {
            "name": "OAuth",
            "mode": "OAuth",
            "oauth_site_type": "CN",
            "oauth_access_token": made.token("oauth access"),
            "oauth_refresh_token": made.token("oauth refresh"),
            "oauth_access_token_expire": EXPIRED,
        },
        {"name": "External", "mode": "External", "process_command": f"{home / 'helper'}"},
    ]


def write_profiles(home: Path, made: Secrets) -> list[str]:
    """Write the vendor's file below `home`. Returns: the names in it."""
    found = profiles(home, made)
    (home / ".aliyun").mkdir(exist_ok=True)
    (home / ".aliyun" / "config.json").write_text(json.dumps({"current": "AK", "profiles": found}))
    return [str(profile["name"]) for profile in found]


def accounts(home: Path, made: Secrets) -> Iterator[tuple[Account, dict[str, str]]]:
    """Yield an account of every mode of a profile, and that of a credentials URI, each with its environment."""
    uri = f"http://credentials.invalid/{made.key('uri path')}?key={made.key('uri query')}"
    made.by_name["uri"] = uri
    environment = {"HOME": str(home), "ALIBABA_CLOUD_CREDENTIALS_URI": uri}
    for name in write_profiles(home, made):
        yield profile_account(name), environment
    others = ("ALIBABA_CLOUD_CLI_PROFILE_DISABLED", "ALIBABA_CLOUD_ECS_METADATA_DISABLED")
    yield environment_account("CredentialsURI"), {**environment, **dict.fromkeys(others, "true")}


def resolve_everywhere(home: Path, made: Secrets, quotations: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Let each mode ask a service that quotes it. Yields: the place, and every text that a user or a log could see."""
    for account, environment in accounts(home, made):
        for quotation, answer in itertools.product(quotations, (400, 200, None)):
            with (
                mock.patch.dict(os.environ, environment, clear=True),
                mock.patch("urllib3.PoolManager.request", _network(made, quotation, answer)),
            ):
                try:
                    account.resolve(tries=1)
                    text = f"{account!r} {account.key!r}"
                except EnsImagesError as error:
                    text = "".join(traceback.format_exception(error))
            yield f"{account.label}, {answer}, {quotation}", text


def _network(made: Secrets, quotation: str, status: int | None) -> Callable[..., Any]:
    """Stand for the network: it answers with a quotation of the request; without a status it fails, and quotes it."""

    def send(
        _pool: urllib3.PoolManager, method: str, url: str, *, body: Any, headers: Mapping[str, str], **_: object
    ) -> Any:
        made.requests += 1
        parts = urlsplit(url)
        named = {**headers, **dict(parse_qsl(parts.query))}
        made.signature(named.get("Signature", "-" * 40))
        if status is None:
            raise MaxRetryError(
                HTTPConnectionPool(parts.netloc), f"{parts.path}?{parts.query}", OSError(f"cannot {method} {url}")
            )
        content = QUOTATIONS[quotation]((url, named, body.decode() if isinstance(body, bytes) else body or ""))
        return urllib3.HTTPResponse(io.BytesIO(content), status=status, preload_content=False)

    return send


# ── service and proxy ────────────────────────────────────────────────────────


class Quoting(http.server.BaseHTTPRequestHandler):
    """Answers a call with a quotation of it: status and quotation by the key id, `key-403-3`; as a proxy it refuses."""

    server: Any

    def do_POST(self) -> None:
        """Quote a call of the service."""
        self._quote()

    def do_GET(self) -> None:
        """Quote the probe, or the read of an object."""
        self._quote()

    def do_CONNECT(self) -> None:
        """Refuse a tunnel, with what was sent in the reason."""
        sent = self.headers.get("Proxy-Authorization", "")
        user_and_password = base64.b64decode(sent.partition(" ")[2] or b"").decode()
        self._answer(
            407, json.dumps({"sent": sent, "who": user_and_password}).encode(), f"no {sent} {user_and_password}"
        )

    def _quote(self) -> None:
        credential = self.headers.get("Authorization", "")
        for signature in re.findall("Signature=([0-9a-f]+)", credential):
            self.server.made.signature(signature)
        chosen = re.search(r"key-(\d+)-(\d+)", credential)
        status, number = (int(chosen[1]), int(chosen[2])) if chosen else (400, 0)
        quotation = list(QUOTATIONS.values())[number]
        address = f"http://{self.headers['Host']}{self.path}&{urlencode(dict(self.headers.items()))}"
        self._answer(status, quotation((address, dict(self.headers.items()), "")), f"No {credential}")

    def _answer(self, status: int, content: bytes, reason: str) -> None:
        self.send_response(status, reason)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("x-acs-request-id", reason)
        self.send_header("Location", f"https://elsewhere.example/?{urlencode({'sent': reason})}")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


class QuotingServer(LoopbackServer):
    """A server that tells `made` which signatures it received."""

    def __init__(self, made: Secrets) -> None:
        super().__init__(Quoting)
        self.server.made = made


def run_everywhere(home: Path, made: Secrets, statuses: Iterable[int]) -> Iterator[tuple[str, str]]:
    """Run over an account for each status and quotation, beside two behind a proxy. Yields: place and text."""
    log = _Log()
    with QuotingServer(made) as server, log.listening():
        address = f"127.0.0.1:{server.port}"
        password = made.password("proxy")
        proxy = f"http://user:{quote(password, safe='')}@{address}"
        environment = {"HOME": str(home), "HTTPS_PROXY": proxy, "https_proxy": proxy, "NO_PROXY": "", "no_proxy": ""}
        accounts = [
            key_account(
                f"{status} {number}", f"key-{status}-{number}", made.key(f"key {number}"), made.token(f"t {number}")
            )
            for status in statuses
            for number in range(len(QUOTATIONS))
        ]
        behind = key_account("proxy", "key-400-0", made.key("behind"), made.token("behind"))
        behind.endpoint = "https://ens.invalid"
        with mock.patch.dict(os.environ, environment):
            scheduled = scheduled_run(
                home / "data",
                after=AfterRun(export=str(home / "out")),
                retention={},
                summary=home / "summary.json",
                accounts=[*accounts, behind],
                endpoint=f"http://{address}",
                rate=None,
                timeout_seconds=2,
                workers=16,
            )
            yield "run", str(scheduled)
            yield "probe", str(probe("https://ens.invalid").error)
    yield "log", log.text
    yield "check", str([str(finding) for finding in check(home / "data").findings])


def read_buckets(made: Secrets) -> Iterator[tuple[str, str]]:
    """Read an object of a bucket whose service refuses, and quotes. Yields: place, and the error with its causes."""
    with QuotingServer(made) as server:
        variables = {
            "AWS_SECRET_ACCESS_KEY": made.key("aws"),
            "AWS_SESSION_TOKEN": made.token("aws token"),
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.port}",
            "AWS_REGION": "x",
        }
        for status in (400, 403, 409):
            for number, quotation in enumerate(QUOTATIONS):
                bucket = f"b{status}-{number}-{server.port}"  # a client stays for its bucket
                with mock.patch.dict(os.environ, {**variables, "AWS_ACCESS_KEY_ID": f"key-{status}-{number}"}):
                    try:
                        open_location(f"s3://{bucket}/lake/x").read_bytes()
                    except (EnsImagesError, OSError) as error:
                        yield f"{status}, {quotation}", "".join(traceback.format_exception(error))


def read_everywhere(home: Path) -> Iterator[tuple[str, str]]:
    """Export and report what was run, and read every file below `home`. Yields: place and text."""
    data, out = home / "data", home / "out"
    with contextlib.suppress(EnsImagesError):
        for view in ("observations", "raw_pages"):
            for form in ("csv", "json", "parquet"):
                export(view, out / f"{view}.{form}", data)
    with contextlib.closing(connect(data)) as lake, contextlib.suppress(EnsImagesError):
        write_page(lake, home / "page.html")
    for path in sorted(home.rglob("*")):
        if path.is_file() and ".aliyun" not in path.parts and path.name not in {"oidc", "helper"}:
            yield str(path.relative_to(home)), _content(path)


def _content(path: Path) -> str:
    text = path.read_bytes().decode("latin-1")
    if path.suffix == ".parquet":
        with pq.ParquetFile(path) as file:
            rows = file.read().to_pylist()
        bodies = [value for row in rows for value in row.values() if isinstance(value, bytes)]
        text += f"{file.metadata.metadata}{rows}" + "".join(body.decode("latin-1") for body in bodies)
    return text


class _Log(logging.Handler):
    """Everything that is logged, by whichever library, as text and as the values of its records."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith(("pipeline", "asyncio", "aiohttp")):
            self.text += f"{record.getMessage()} {record.__dict__}\n"

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Listen at the root of all loggers."""
        root = logging.getLogger()
        before = root.level
        root.addHandler(self)
        root.setLevel(logging.DEBUG)
        try:
            yield
        finally:
            root.removeHandler(self)
            root.setLevel(before)


# ── findings ─────────────────────────────────────────────────────────────────


def planted_in(text: str, secrets: Mapping[str, str]) -> list[str]:
    """Return the names of the secrets that stand in a text, in any spelling."""
    return [name for name, secret in secrets.items() if any(spelling in text for spelling in _spellings(secret))]


def _spellings(secret: str) -> set[str]:
    escaped = json.dumps(secret)[1:-1].replace("/", "\\/")
    pair = base64.b64encode(f"user:{secret}".encode()).decode()
    return {secret, quote(secret, safe=""), quote(secret), escaped, html.escape(secret), pair}


def search(home: Path, seed: int, *, quotations: Iterable[str] = tuple(QUOTATIONS)) -> tuple[Counter[str], list[str]]:
    """Plant and search once. Returns: how many texts were searched, by kind, and what was found."""
    made = Secrets.of(seed)
    searched: Counter[str] = Counter()
    texts: list[tuple[str, str, str]] = []
    for kind, found in (
        ("credentials", resolve_everywhere(home, made, quotations)),
        ("run", run_everywhere(home, made, (400, 403, 302))),
        ("bucket", read_buckets(made)),
        ("file", read_everywhere(home)),
    ):
        for place, text in found:
            searched[kind] += 1
            texts.append((kind, place, text))
    findings = [
        f"{kind} {place}: {', '.join(names)}"
        for kind, place, text in texts
        if (names := planted_in(text, made.by_name))
    ]
    searched["secrets"] = len(made.by_name)
    searched["requests"] = made.requests
    return searched, findings


def fuzz(rounds: int, first_seed: int) -> int:
    """Search round after round, print what was searched and found. Returns: how many findings."""
    searched: Counter[str] = Counter()
    findings: list[str] = []
    for seed in range(first_seed, first_seed + rounds):
        with tempfile.TemporaryDirectory() as folder:
            more, found = search(Path(folder), seed)
        searched += more
        findings += [f"seed {seed}: {finding}" for finding in found]
    for finding in findings:
        sys.stdout.write(f"{finding}\n")
    counts = ", ".join(f"{count:,} {kind}" for kind, count in searched.items())
    sys.stdout.write(f"secrets searched for in: {counts}; {len(findings)} places leak\n")
    return len(findings)


def main() -> int:
    """Fuzz, and say whether no secret came out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    return 1 if fuzz(asked.rounds, asked.seed) else 0


if __name__ == "__main__":
    sys.exit(main())
