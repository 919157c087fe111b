"""Secrets that this process may use, for redaction by value: a library or a server may quote one without a label.

    environment      variables named for a secret; passwords of the proxies; the address of a credentials service
    profile files    ~/.aliyun/config.json, ~/.alibabacloud/credentials.ini, ~/.aws/credentials, what they name

Read where an error is about to be told, so that nothing is kept, and what was just changed counts.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from pipeline.redaction import labelled_secrets

_FILES: Final = ("~/.aliyun/config.json", "~/.alibabacloud/credentials.ini", "~/.aws/credentials")
_FILE_VARIABLES: Final = ("ALIBABA_CLOUD_CREDENTIALS_FILE", "AWS_SHARED_CREDENTIALS_FILE")
_SECRETIVE: Final = re.compile(
    r"(?:secret|token|passw(?:or)?d|credentials_uri|(?:secret|private|api|secret_access)_key)$", re.IGNORECASE
)
_SERVICE: Final = re.compile(r"""["']?credentials?_uri["']?\s*[:=]\s*["']?([^"'\s]+)""", re.IGNORECASE)
"""The address of a credentials service: a secret as a whole."""
_NAMED_FILE: Final = re.compile(
    r"""["']?(?:oidc_token_file(?:_path)?|private_key_file)["']?\s*[:=]\s*["']?([^"'\s]+)""", re.IGNORECASE
)
_MOST_BYTES: Final = 1 << 20
_SHORTEST: Final = 16
"""The vendor's secrets have thirty characters. A shorter one (the emulator's) may be part of any word."""
_SHORTEST_PASSWORD: Final = 4
"""Of a proxy: people choose these."""


def known_secrets() -> frozenset[str]:
    """Return the secrets of the environment and of the profile files that are long enough to be recognised."""
    found = {value for name, value in os.environ.items() if _SECRETIVE.search(name)}
    named = {os.environ.get("ALIBABA_CLOUD_OIDC_TOKEN_FILE", "")}
    for file in (*_FILES, *filter(None, map(os.environ.get, _FILE_VARIABLES))):
        text = _read(file)
        found |= labelled_secrets(text) | set(_SERVICE.findall(text))
        named |= set(_NAMED_FILE.findall(text))
    found |= {part for uri in [*found] if "://" in uri for part in _parts(uri)}
    found |= {_read(file).strip() for file in named if file}
    return frozenset(secret for secret in found if len(secret) >= _SHORTEST) | _proxy_passwords()


def _parts(uri: str) -> set[str]:
    """Return the path of the address of a credentials service, and the values in its query."""
    with contextlib.suppress(ValueError):
        url = urlsplit(uri)
        return {url.path.strip("/"), *(value for _, value in parse_qsl(url.query))}
    return set()


def _read(file: str) -> str:
    """Read the start of a file; empty where it cannot be read."""
    with contextlib.suppress(OSError, RuntimeError, ValueError):  # such as no home, or NUL in the path
        path = Path(file).expanduser()
        if path.is_file():
            with path.open("rb") as content:
                return content.read(_MOST_BYTES).decode("utf-8-sig", "replace")
    return ""


def _proxy_passwords() -> frozenset[str]:
    """Return the passwords of the proxies, as spelled and as meant, and both of user and password as they are sent."""
    found = set()
    for name, address in os.environ.items():
        if not name.lower().endswith("_proxy") or "@" not in address:
            continue
        userinfo = address.partition("://")[2].rpartition("@")[0] or address.rpartition("@")[0]
        user, colon, password = userinfo.partition(":")
        if colon:
            found |= {password, unquote(password)}
            pair = f"{unquote(user)}:{unquote(password)}"
            found |= {pair, base64.b64encode(pair.encode("utf-8", "surrogateescape")).decode()}
        with contextlib.suppress(ValueError):
            found.add(urlsplit(address).password or "")
    return frozenset(password for password in found if len(password) >= _SHORTEST_PASSWORD)
