"""Run the helper of a profile of mode External, within bounds of size and time.

    process_command ─→ at most 1 MiB within 60 s ─→ the vendor's provider reads it

The vendor's library collects the output in memory without a limit, and quotes what the helper writes to stderr. No
message here quotes the command or its output: both may hold a secret.
"""

from __future__ import annotations

import os
import selectors
import shlex
import subprocess
import time
from typing import IO, TYPE_CHECKING, Any, Final

from alibabacloud_credentials.exceptions import CredentialException
from alibabacloud_credentials.provider import ExternalCredentialsProvider

if TYPE_CHECKING:
    from alibabacloud_credentials.provider.refreshable import Credentials, RefreshResult

_MAX_BYTES: Final = 1 << 20
"""An output has a few kilobytes."""
_MAX_SECONDS: Final = 60.0


class HelperFailed(Exception):
    """The helper of a profile gave no usable credentials: why, in a few words."""


class BoundedHelper(ExternalCredentialsProvider):  # type: ignore[misc]
    """The vendor's provider of mode External, with another way to run the helper."""

    def _refresh_credentials(self) -> RefreshResult[Credentials]:
        output = _output(self._process_command)
        try:
            return self._parse_and_build_credentials(output.decode(), async_callback=False)
        except CredentialException as error:
            if "parse" in str(error):
                raise HelperFailed("its output is not JSON") from None
            raise HelperFailed(f"its output is not usable: {str(error).rpartition(': ')[2]}") from None
        except (UnicodeDecodeError, RecursionError):
            raise HelperFailed("its output is not JSON") from None
        except (AttributeError, TypeError, ValueError):
            raise HelperFailed("its output is of an unexpected form") from None


def _output(command: str) -> bytes:
    """Run a command. Returns: what it writes to stdout.

    Raises:
        HelperFailed: it does not start, it fails, or it does not end within the bounds.
    """
    deadline = time.monotonic() + _MAX_SECONDS
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise HelperFailed(f"process_command: {str(error)[:1].lower()}{str(error)[1:]}") from None
    if not words:
        raise HelperFailed("process_command is empty")
    try:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # noqa: S603  (the user's)
    except (OSError, ValueError) as error:
        raise HelperFailed(f"it does not start: {getattr(error, 'strerror', None) or error}") from None
    with process:
        try:
            assert process.stdout is not None  # noqa: S101  (a pipe)
            output = _read(process.stdout, deadline)
            status = process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            raise _too_slow() from None
        except BaseException:
            process.kill()
            raise
    if status:
        raise HelperFailed(f"it ended with exit status {status}")
    return output


def _read(pipe: IO[Any], deadline: float) -> bytes:
    content = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            chunk = os.read(pipe.fileno(), 1 << 16)
            if not chunk:
                return content
            content += chunk
            if len(content) > _MAX_BYTES:
                raise HelperFailed(f"its output is larger than {_MAX_BYTES:,} bytes")
            if time.monotonic() > deadline:
                break
    raise _too_slow()


def _too_slow() -> HelperFailed:
    return HelperFailed(f"it takes more than {_MAX_SECONDS:g} s")
