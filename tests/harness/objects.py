"""Objects in a bucket, for tests: put them, and count the requests that a bucket gets."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from unittest import mock

from pipeline.storage.bucket_path import BucketPath

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def put_object(address: str, body: bytes) -> BucketPath:
    """Put an object as a writer does. Returns: its path."""
    path = BucketPath(address)
    path.store.put_new(path, body)
    return path


def upload(folder: Path, lake: str, *folders: str) -> None:
    """Put every file below a folder, or only below some of the folders in it."""
    roots = [folder / name for name in folders] or [folder]
    paths = [path for root in roots for path in root.rglob("*") if path.is_file()]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda path: put_object(f"{lake}/{path.relative_to(folder)}", path.read_bytes()), paths))


@contextlib.contextmanager
def counted_requests() -> Iterator[Counter[str]]:
    """Count requests by kind (list, head, get, put), and the bytes that are read and put, within the block."""
    import obstore

    traffic: Counter[str] = Counter()
    lock = threading.Lock()

    def count(kind: str, **sizes: int) -> None:
        with lock:
            traffic.update({kind: 1, **sizes})

    def counted_list(*given: Any, **options: Any) -> Iterator[Any]:
        for page in listed(*given, **options):
            count("list")
            yield page

    def counted_head(*given: Any) -> Any:
        count("head")
        return head(*given)

    def counted_get(*given: Any) -> Any:
        result = get(*given)
        count("get", bytes_read=result.meta["size"])
        return result

    def counted_range(*given: Any, **options: Any) -> Any:
        body = get_range(*given, **options)
        count("get", bytes_read=len(body))
        return body

    def counted_put(client: Any, key: str, body: bytes, **options: Any) -> Any:
        count("put", bytes_put=len(body))
        return put(client, key, body, **options)

    listed, head, get, get_range, put = obstore.list, obstore.head, obstore.get, obstore.get_range, obstore.put
    counted = {
        "list": counted_list,
        "head": counted_head,
        "get": counted_get,
        "get_range": counted_range,
        "put": counted_put,
    }
    with mock.patch.multiple(obstore, **counted):
        yield traffic
