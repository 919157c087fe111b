"""A bucket in the place of a folder: `s3://bucket/prefix`, `oss://bucket/prefix`.

    place("data")        a Path, as ever: nothing here is loaded
    place("s3://b/p")    a BucketPath: a Path whose files are objects
                           read    list, HEAD, ranges of a GET
                           write   `put_new`: a PUT that the service takes only if there is no such object

Objects are never changed and never renamed, so the commit record needs no lock: it is put last, and only if absent.
A PUT whose answer was lost is made again; the service then refuses it, and the object that is there is compared: with
the same bytes it is ours. What a bucket cannot do, a BucketPath refuses: it has no place in this machine's files, so
nothing falls through to them.

DuckDB reads objects through `let_read`: a registered file system, and no extension.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import functools
import io
import os
import re
import secrets
import shutil
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PosixPath
from typing import TYPE_CHECKING, Any, Final, NoReturn

from pipeline.credentials import environment_account
from pipeline.errors import BadSetting, LakeLocked, NoAccess, NoCredentials, Unreachable
from pipeline.text import redact_userinfo

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import duckdb

_SCHEME: Final = re.compile(r"(s3|oss):(/{0,2})([^/]*)")
_REFUSED: Final = re.compile(r"status code: (?!408|409|429)4\d\d|incorrectly configured region")
"""How the library tells that the service did not take a request, and will not take the same one later."""
_ROLE: Final = re.compile(r"169\.254\.|/latest/(api/token|meta-data)")
"""Where the library looks for the role of this machine, when nothing else gave it a key."""
_TAIL_BYTES: Final = 32 << 10
"""The end of an object comes in one piece: a Parquet file's footer, or the whole of a small one."""
AT_HAND: Final = 2048
"""Ends of objects that are kept, for who reads them next: as many as 64 MiB hold."""
_AT_ONCE: Final = 32
_PUTS: Final = 4
"""Tries of a PUT that ended without an answer, each of them with the retries of the library."""
_RETRY: Final[Any] = {"max_retries": 6}

traffic: Counter[str] = Counter()
"""What this process has asked of buckets: requests by kind, and bytes read and put."""
_counting = threading.Lock()
_said: dict[str, str] = {}


def configure(endpoint: str | None, region: str | None) -> None:
    """Say where buckets are, for what the environment does not say: an S3-compatible endpoint, a region."""
    _said.update({name: value for name, value in (("endpoint", endpoint), ("region", region)) if value})
    _store.cache_clear()


def open_location(data: str | Path) -> Path:
    """Where a lake lies: in a folder, or in a bucket.

    Raises:
        BadSetting: it names no bucket, or a service that is not known, or no prefix; or a folder that cannot be one.
    """
    if isinstance(data, BucketPath):
        return data
    found = _SCHEME.match(str(data))
    if found is None:
        if "://" in str(data):
            raise BadSetting(f"{str(data)!r} is neither a folder nor a bucket: s3://BUCKET/PREFIX, oss://BUCKET/PREFIX")
        if "?" in str(Path(data).resolve()):
            raise BadSetting(f"{str(data)!r} has a ? in its name, below which DuckDB writes no file: rename the folder")
        return Path(data)
    if not (found[2] and found[3]):
        raise BadSetting(f"{str(data)!r} names no bucket: {found[1]}://BUCKET/PREFIX is expected")
    if "@" in found[3]:
        raise BadSetting(
            f"{redact_userinfo(str(data))!r} names no bucket: a key belongs into the environment or a profile"
        )
    if ".." in str(data).split("/"):
        raise BadSetting(f"{str(data)!r} is no prefix of a bucket: a bucket has no folders, and none above")
    return BucketPath(str(data))


def is_bucket(path: Path) -> bool:
    """Whether it lies in a bucket."""
    return isinstance(path, BucketPath)


def open_file(path: Path) -> Any:
    """What Arrow opens: a path as it is, an object as a file."""
    return path.open("rb") if isinstance(path, BucketPath) else path


def reject_bucket(data: Path, what: str, instead: str) -> None:
    """Refuse what is not done in a bucket.

    Raises:
        BadSetting: `data` is in one.
    """
    if isinstance(data, BucketPath):
        raise BadSetting(f"{str(data)!r} is a bucket, and {what} needs a folder: {instead}")


class BucketPath(PosixPath):
    """An object, or the prefix of some: what the lake asks of a Path, done by the service."""

    __slots__ = ()

    def __str__(self) -> str:
        """With both slashes, as it was typed."""
        return super().__str__().replace(":/", "://", 1)

    def __fspath__(self) -> NoReturn:
        raise BadSetting(f"{str(self)!r} is in a bucket, and this needs a file on this machine")

    __hash__ = PosixPath.__hash__

    @property
    def _at(self) -> tuple[Any, str]:
        return _store(self.parts[0][:-1], self.parts[1]), "/".join(self.parts[2:])

    def resolve(self, strict: bool = False) -> BucketPath:  # noqa: ARG002, FBT001, FBT002  (as Path has it)
        """It is as it is."""
        return self

    def absolute(self) -> BucketPath:
        """It is as it is."""
        return self

    # ── reading ──────────────────────────────────────────────────────────────

    def objects(self) -> Iterator[BucketPath]:
        """Every object below this prefix, in a request a thousand; their sizes are known from here on."""
        store, key = self._at
        import obstore

        with _told(self):
            for page in obstore.list(store, f"{key}/" if key else None, chunk_size=1000):
                _count("list")
                for one in page:
                    path = BucketPath(f"{self.parts[0]}/{self.parts[1]}/{one['path']}")
                    _sizes[str(path)] = (one["size"], one["last_modified"])
                    yield path

    def iterdir(self) -> Iterator[BucketPath]:  # type: ignore[override]
        """What lies right below."""
        depth = len(self.parts)
        found = dict.fromkeys(BucketPath(*path.parts[: depth + 1]) for path in self.objects())
        if not found:
            raise FileNotFoundError(str(self))
        yield from found

    def glob(self, pattern: str, **_: Any) -> Iterator[BucketPath]:  # type: ignore[override]
        """What lies right below, if its name fits."""
        with contextlib.suppress(FileNotFoundError):
            yield from (path for path in self.iterdir() if path.match(pattern))

    def rglob(self, pattern: str, **_: Any) -> Iterator[BucketPath]:  # type: ignore[override]
        """Every object below whose name fits."""
        return (path for path in self.objects() if path.match(pattern))

    def size(self) -> tuple[int, dt.datetime]:
        """Its size in bytes, and when it was put.

        Raises:
            FileNotFoundError: there is no such object.
        """
        if str(self) not in _sizes:
            store, key = self._at
            import obstore

            with _told(self):
                said = obstore.head(store, key)
            _count("head")
            _sizes[str(self)] = (said["size"], said["last_modified"])
        return _sizes[str(self)]

    def is_file(self, **_: Any) -> bool:
        """Whether there is such an object."""
        try:
            self.size()
        except FileNotFoundError:
            return False
        return True

    def is_dir(self, **_: Any) -> bool:
        """Whether it is no object, and some lie below."""
        return not self.is_file() and any(self.objects())

    def exists(self, **_: Any) -> bool:
        """Whether there is such an object: a prefix is nothing by itself."""
        return self.is_file()

    def read_bytes(self) -> bytes:
        """The whole object.

        Raises:
            FileNotFoundError: there is none.
        """
        store, key = self._at
        import obstore

        with _told(self):
            said = bytes(obstore.get(store, key).bytes())
        _count("get", read=len(said))
        return said

    def read_text(self, encoding: str | None = None, errors: str | None = None, **_: Any) -> str:
        """The whole object, decoded."""
        return self.read_bytes().decode(encoding or "utf-8", errors or "strict")

    def read_range(self, start: int, end: int) -> bytes:
        """Some bytes of it."""
        store, key = self._at
        import obstore

        with _told(self):
            said = bytes(obstore.get_range(store, key, start=start, end=end))
        _count("get", read=len(said))
        return said

    def open(self, mode: str = "rb", **_: Any) -> Any:  # type: ignore[override]
        """Open it for reading."""
        if mode != "rb":
            raise BadSetting(f"{str(self)!r} is an object: it is written whole, once")
        return _Object(self)

    # ── writing ──────────────────────────────────────────────────────────────

    def put_new(self, body: bytes) -> None:
        """Put an object where there is none; one that is there with the same bytes is this one.

        Raises:
            LakeLocked: there is another; it stays as it is.
            Unreachable: no answer came, and it is not known whether the object is there.
        """
        scheme, (_, key) = self.parts[0][:-1], self._at
        store = _store(scheme, self.parts[1], is_writing=True)
        import obstore
        from obstore.exceptions import AlreadyExistsError, BaseError

        mode: Any = "overwrite" if scheme == "oss" else "create"  # OSS is told by a header
        for number in range(1, _PUTS + 1):
            if number > 1:
                time.sleep((number - 1) / 2)
            _count("put", put=len(body))
            try:
                obstore.put(store, key, body, mode=mode, use_multipart=False)
            except AlreadyExistsError as error:
                there = self._there()
                if there == body:  # the answer to an earlier try was lost, or somebody rebuilds the same
                    return
                if there is not None:
                    raise LakeLocked(
                        f"{str(self)!r} is there already, and is not what this process writes: another machine wrote "
                        "it, or another version; nothing of this was published: run again"
                    ) from None
                met: Exception = error  # 409: two puts of it met, and the service took neither, or one is on its way
            except (BaseError, FileNotFoundError) as error:
                meant = _meant(self, error)
                if isinstance(meant, FileNotFoundError):  # what is put need not be there: its bucket must
                    meant = _no_bucket(self)
                if not isinstance(meant, Unreachable):
                    raise meant from error
                met = error
            else:
                return
        raise Unreachable(
            f"no answer to the put of {str(self)!r}, and it is not known whether it is there "
            f"({_first_line(met)}): `ens-images status` shows it, or run again"
        ) from met

    def _there(self) -> bytes | None:
        try:
            return self.read_bytes()
        except FileNotFoundError:
            return None


class _Object(io.RawIOBase):
    """An object as a file: ranges of it, as they are asked for."""

    def __init__(self, path: BucketPath) -> None:
        self._path = path
        self._place = 0
        self._end = path.size()[0]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._end}[whence]
        return self._place

    def read(self, size: int | None = -1) -> bytes:
        rest = self._end - self._place
        count = rest if size is None or size < 0 else min(size, rest)
        said = self._range(self._place, self._place + count) if count > 0 else b""
        self._place += len(said)
        return said

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: Any) -> int:
        said = self.read(len(buffer))
        buffer[: len(said)] = said
        return len(said)

    def _range(self, start: int, end: int) -> bytes:
        tail = max(0, self._end - _TAIL_BYTES)
        if start < tail:
            return self._path.read_range(start, end)
        return _tail(self._path)[start - tail : end - tail]


@functools.lru_cache(maxsize=AT_HAND)
def _tail(path: BucketPath) -> bytes:
    """The end of an object."""
    end, _ = path.size()
    return path.read_range(max(0, end - _TAIL_BYTES), end)


def prefetch_footers(paths: Sequence[Path]) -> None:
    """Fetch the ends of objects that are read next, many at once: most of the time is the way there and back."""
    objects = [path for path in paths if isinstance(path, BucketPath)]
    if objects:
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="bucket") as pool:
            list(pool.map(_tail, objects))


_sizes: dict[str, tuple[int, dt.datetime]] = {}
"""Of every object that was met: an object is never changed."""


# ── the service ──────────────────────────────────────────────────────────────


@functools.cache
def _store(scheme: str, bucket: str, *, is_writing: bool = False) -> Any:
    """The library's store of one bucket; one of its own for writing, where the service wants a header for that."""
    with _extra():
        from obstore.store import S3Store
    is_oss = scheme == "oss"
    names = ("OSS_ENDPOINT",) if is_oss else ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    endpoint = _first(*names) or _said.get("endpoint")
    region = _first(*(("OSS_REGION",) if is_oss else ("AWS_REGION", "AWS_DEFAULT_REGION"))) or _said.get("region")
    options: Any = {"connect_timeout": "10s", "read_timeout": "60s", "timeout": "600s"}
    config: dict[str, Any] = {}
    if is_oss:
        if not (region or endpoint):
            raise BadSetting(f"oss://{bucket} needs a region: OSS_REGION, or `region` below [bucket] in the settings")
        endpoint = endpoint or f"https://{bucket}.s3.oss-{region}.aliyuncs.com"
        config["virtual_hosted_style_request"] = f"//{bucket}." in endpoint
        config["conditional_put"] = "disabled"
        if is_writing:
            options["default_headers"] = {"x-oss-forbid-overwrite": "true"}
    if endpoint:
        if not re.match(r"https?://[^/@]+(/|$)", endpoint):
            said = redact_userinfo(endpoint)
            raise BadSetting(f"the bucket's endpoint {said!r} is no address: https://HOST is expected")
        is_here = re.match(r"http://(localhost|127\.[0-9.]+|\[::1\])(:|/|$)", endpoint) is not None
        if endpoint.startswith("http:") and not is_here and os.environ.get("AWS_ALLOW_HTTP") != "true":
            raise BadSetting(f"the bucket's endpoint {endpoint!r} is not https: AWS_ALLOW_HTTP=true allows it")
        options["allow_http"] = endpoint.startswith("http:")
        config["endpoint"] = endpoint
    provider = _oss_provider(bucket) if is_oss else _aws_provider(bucket)
    said = {} if is_oss or provider is None else provider.config  # what the profile says of the region
    return S3Store(
        bucket,
        region=region or said.get("region") or "us-east-1",
        client_options=options,
        retry_config=_RETRY,
        credential_provider=provider,
        **config,
    )


def _first(*names: str) -> str | None:
    return next((value for name in names if (value := os.environ.get(name))), None)


@contextlib.contextmanager
def _extra() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise BadSetting("a lake in a bucket needs the extra `cloud`: pip install 'ens-images[cloud]'") from error


def _aws_provider(bucket: str) -> Any:
    """A profile's credentials; None: the library reads the environment, and what the machine's role gives."""
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        return None
    files = (
        _first("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials",
        _first("AWS_CONFIG_FILE") or "~/.aws/config",
    )
    if not (os.environ.get("AWS_PROFILE") or any(Path(file).expanduser().exists() for file in files)):
        return None
    with _extra():
        import boto3
        from botocore.exceptions import BotoCoreError
        from obstore.auth.boto3 import Boto3CredentialProvider
    try:
        return Boto3CredentialProvider(boto3.Session())
    except (BotoCoreError, ValueError) as error:  # there is no such profile; it holds no key
        raise _no_credentials(f"s3://{bucket}", error) from error


def _no_credentials(bucket: str, error: Exception) -> NoCredentials:
    aws, oss = "AWS_ACCESS_KEY_ID and its secret, or AWS_PROFILE", "OSS_ACCESS_KEY_ID and OSS_ACCESS_KEY_SECRET"
    names = oss if bucket.startswith("oss:") else aws
    return NoCredentials(f"no credentials for {bucket!r}: set {names} ({_first_line(error)})")


def _oss_provider(bucket: str) -> Any:
    """OSS_ACCESS_KEY_ID and its secret, else the vendor's own chain: asked once here, to say what is missing."""

    def found() -> dict[str, Any]:
        key, secret = _first("OSS_ACCESS_KEY_ID"), _first("OSS_ACCESS_KEY_SECRET")
        token = _first("OSS_SESSION_TOKEN")
        if not (key and secret):
            said = environment_account().resolve()
            key, secret, token = said.id, said.secret, said.token
        soon = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=10)  # then they are asked for anew
        return {"access_key_id": key, "secret_access_key": secret, "token": token or None, "expires_at": soon}

    try:
        found()
    except NoCredentials as error:
        raise _no_credentials(f"oss://{bucket}", error) from error
    return found


def _count(kind: str, *, read: int = 0, put: int = 0) -> None:
    with _counting:
        traffic[kind] += 1
        traffic["bytes_read"] += read
        traffic["bytes_put"] += put


@contextlib.contextmanager
def _told(path: BucketPath) -> Iterator[None]:
    """Say what the library means."""
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, FileNotFoundError) as error:
        raise _meant(path, error) from error


def _meant(path: BucketPath, error: Exception) -> Exception:
    from obstore.exceptions import NotFoundError, PermissionDeniedError, UnauthenticatedError

    said = str(error)
    if "NoSuchBucket" in said:
        return _no_bucket(path)
    if isinstance(error, NotFoundError | FileNotFoundError):
        return FileNotFoundError(str(path))
    if _ROLE.search(said):
        return _no_credentials("://".join((path.parts[0][:-1], path.parts[1])), error)
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return NoAccess(f"{str(path)!r} may not be read or written with these credentials: {_first_line(error)}")
    if _REFUSED.search(said):
        return BadSetting(
            f"the service does not take what is asked about {str(path)!r}: look at the endpoint and the region "
            f"({_first_line(error)})"
        )
    return Unreachable(f"no usable answer about {str(path)!r}: {_first_line(error)}")


def _no_bucket(path: BucketPath) -> BadSetting:
    return BadSetting(f"there is no bucket {path.parts[1]!r}: make it, or name another")


def _first_line(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error)).split(" Debug source:")[0][:300]


def try_bucket(data: BucketPath) -> str:
    """Put an object of our own twice: the second time the service must refuse it; nothing is left of it.

    Raises:
        BadSetting: it did not.
        NoAccess, Unreachable: it could not be put.
    """
    tried = data / f".tried-{secrets.token_hex(8)}"
    store, key = tried._at  # noqa: SLF001
    import obstore

    tried.put_new(b"first")
    holds = left = ""
    try:
        tried.put_new(b"second")
    except LakeLocked:
        holds = "written, and not overwritten: a conditional put holds"
    finally:
        try:
            with _told(tried):
                obstore.delete(store, key)
        except (NoAccess, FileNotFoundError):  # a run needs no right to delete
            left = f"; {tried.name!r} stays, for these credentials may not delete"
    if holds:
        return holds + left
    raise BadSetting(
        f"the service of {str(data)!r} overwrites an object that should be put only if absent: two machines could undo "
        "each other's runs there; take one that supports conditional puts (If-None-Match)"
    )


# ── on this machine ──────────────────────────────────────────────────────────


_ASIDE: Final = "ens-images-aside-"
_NEW_SECONDS: Final = 60
"""Within which whoever makes a folder has locked it."""


@functools.cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder for this process alone, locked as long as it lives; what killed ones left is cleared away."""
    for left in Path(tempfile.gettempdir()).glob(f"{_ASIDE}*"):
        _clear_if_left(left)
    folder = tempfile.TemporaryDirectory(prefix=_ASIDE)
    fcntl.flock(os.open(folder.name, os.O_RDONLY), fcntl.LOCK_EX)  # the system closes it, however this process ends
    return folder


def _clear_if_left(folder: Path) -> None:
    """Clear away a folder of this user's that no process has locked."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # it is gone, or another user's
        return
    try:
        said = os.fstat(handle)
        if said.st_uid == os.getuid() and said.st_mtime < time.time() - _NEW_SECONDS:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:  # its process lives
        pass
    finally:
        os.close(handle)


def staging_dir(folder: Path) -> Path:
    """A folder to write in what is published later: beside the lake, or for a bucket on this machine."""
    return Path(_scratch().name, *folder.parts[1:]) if isinstance(folder, BucketPath) else folder


# ── DuckDB ───────────────────────────────────────────────────────────────────


def register_filesystem(con: duckdb.DuckDBPyConnection, data: str | Path) -> None:
    """Let DuckDB read the objects of a bucket; for a folder there is nothing to do."""
    if is_bucket(open_location(data)):
        con.register_filesystem(_file_system())
        con.execute("set enable_external_file_cache = false").fetchall()  # it fetches whole blocks for a column


@functools.cache
def _file_system() -> Any:
    with _extra():
        from fsspec import AbstractFileSystem

    class Objects(AbstractFileSystem):  # type: ignore[misc, unused-ignore]
        """What DuckDB asks of a file system, from sizes that a listing has told."""

        protocol = ("s3", "oss")
        cachable = False

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return path

        def _open(self, path: str, mode: str = "rb", **_: Any) -> Any:
            return BucketPath(path).open(mode)

        def info(self, path: str, **_: Any) -> dict[str, Any]:
            size, _at = BucketPath(path).size()
            return {"name": path, "size": size, "type": "file"}

        def modified(self, path: str) -> dt.datetime:
            return BucketPath(path).size()[1]

        def glob(self, path: str, **_: Any) -> list[str]:
            return [path] if BucketPath(path).is_file() else []

    return Objects()
