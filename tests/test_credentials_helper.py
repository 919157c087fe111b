"""The helper of a profile of mode External: bounded in bytes and time, and no word of it in a message."""

from __future__ import annotations

import json
import shlex
import time
from typing import TYPE_CHECKING

import pytest

import pipeline.credential_chain.sources  # noqa: F401  (the vendor reads variables at import, before a test sets any)
from pipeline.credential_chain import helper
from pipeline.credentials import profile_account
from pipeline.errors import NoCredentials

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.credentials import Account

FOUND = {"mode": "StsToken", "access_key_id": "from-the-helper", "access_key_secret": "s3cret", "sts_token": "t"}


@pytest.fixture
def helped(tmp_path, monkeypatch) -> Callable[[str], Account]:
    """Make the account of a profile whose helper is a command."""
    monkeypatch.setenv("HOME", str(tmp_path))

    def make(command: str) -> Account:
        profile = {"name": "prod", "mode": "External", "process_command": command}
        folder: Path = tmp_path / ".aliyun"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"current": "prod", "profiles": [profile]}))
        return profile_account("prod")

    return make


def shell(script: str) -> str:
    return f"sh -c {shlex.quote(script)}"


def test_the_output_of_a_helper_is_the_credentials(helped):
    account = helped(shell(f"echo {shlex.quote(json.dumps(FOUND))}"))
    assert (account.resolve().token, account.found_by) == ("t", "cli_profile/external")


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("yes s3cret", "its output is larger than 1,048,576 bytes"),
        (shell("yes s3cret | cat"), "its output is larger than 1,048,576 bytes"),
        (shell("exec yes s3cret >&2"), "it takes more than 0.3 s"),
        ("sleep 60", "it takes more than 0.3 s"),
        (shell("exec >&-; exec sleep 60"), "it takes more than 0.3 s"),
        (shell("sleep 2 & exit 1"), "it takes more than 0.3 s"),
        (shell("echo s3cret; echo s3cret >&2; exit 3"), "it ended with exit status 3"),
        ("/nowhere/s3cret", "it does not start: No such file or directory"),
        ("sh 's3cret", "process_command: no closing quotation"),
        (" ", "process_command is empty"),
        ("echo s3cret", "its output is not JSON"),
        (shell(r"printf '\351'"), "its output is not JSON"),
        ("echo '[\"s3cret\"]'", "its output is of an unexpected form"),
        ('echo \'{"access_key_secret": "s3cret"}\'', "its output is not usable"),
        ("echo " + shlex.quote(json.dumps({**FOUND, "expiration": "s3cret"})), "its output is of an unexpected form"),
        ("echo " + shlex.quote(json.dumps({**FOUND, "sts_token": ""})), "its output is not usable: sts_token is empty"),
    ],
)
def test_a_helper_that_gives_nothing_usable_is_one_message_without_its_words(helped, monkeypatch, command, told):
    monkeypatch.setattr(helper, "_MAX_SECONDS", 0.3)
    account, started = helped(command), time.monotonic()

    with pytest.raises(NoCredentials) as error:
        account.resolve()

    text = str(error.value)
    assert time.monotonic() - started < 5
    assert f"the helper for the credentials of account 'prod' gave none that can be used: {told}" in text
    assert "run the process_command of the profile by hand" in text
    assert not any(word in text for word in ("s3cret", "aliyun configure", "\n")), text
