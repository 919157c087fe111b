"""Check what a run depends on, in order; the first check that fails is the first thing to fix.

    settings → credentials → endpoint → TLS → clock → a signed call of one image     (each account, each endpoint)
             → extras → folder → file system → free space → versions → lock

    service.py     accounts, endpoint, clock, call
    machine.py     packages, folders, file system, lake
    findings.py    run a check, keep its result

A failed check carries the error that a run would raise. A check that depends
on a failed one is "not known": without credentials everything but the signed
call is checked. It shows no secret and changes nothing.
"""

from __future__ import annotations

from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pipeline.errors import BadSetting
from pipeline.extract.probe import probe
from pipeline.jobs.doctor import machine, service
from pipeline.jobs.doctor.findings import Finding, Findings, as_lines, as_rows, first_to_fix
from pipeline.redaction import redact_userinfo
from pipeline.resources.tables import RESOURCES
from pipeline.storage.conditional_put import check_conditional_put
from pipeline.storage.mounts import read_mounts
from pipeline.storage.store import store_of
from pipeline.text import NOTHING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from pipeline.credentials import Account
    from pipeline.extract.probe import Probe

__all__ = ["Finding", "as_lines", "as_rows", "examine", "first_to_fix"]


def examine(
    data: Path,
    *,
    accounts: Callable[[], Sequence[Account]],
    endpoint: str,
    allow_plain_http: bool = False,
    settings: Iterable[tuple[str, Any, str]] = (),
    unknown: Sequence[str] = (),
    folders: Iterable[Path] = (),
    extras: Mapping[str, str] = MappingProxyType({}),
    resources: Sequence[str] = (),
) -> list[Finding]:
    """Make every check, in order.

    Args:
        data: The lake.
        accounts: Selects the accounts; may raise.
        endpoint: The endpoint of the accounts that have none of their own.
        allow_plain_http: Allow an http:// endpoint on another machine.
        settings: Key, value and origin of each setting.
        unknown: A message for each environment variable that no option reads.
        folders: Other folders that a run writes to.
        extras: The extras that the settings need, each with the key that needs it.
        resources: The resources that the settings ask for by name; none: all, and what is optional may be missing.
    """
    findings = Findings()
    _check_settings(findings, settings, unknown)
    _check_service(findings, accounts, endpoint, resources, allow_plain_http=allow_plain_http)
    _check_machine(findings, data, folders, extras)
    return list(findings)


def _check_settings(findings: Findings, settings: Iterable[tuple[str, Any, str]], unknown: Sequence[str]) -> None:
    for key, value, origin in settings:
        findings.append(Finding(f"setting {key}", "good", f"{NOTHING if value is None else value}  ({origin})"))
    for message in unknown:
        findings.append(Finding("environment", "wrong", message, BadSetting(message)))


def _check_service(
    findings: Findings,
    accounts: Callable[[], Sequence[Account]],
    default: str,
    resources: Sequence[str],
    *,
    allow_plain_http: bool,
) -> None:
    """Check credentials, then each endpoint once, then a call of each account at its endpoint."""
    selected: Sequence[Account] = findings.check_value("accounts", lambda: service.check_accounts(accounts())) or ()
    for account in selected:
        findings.check(f"credentials of {account.label!r}", partial(service.check_credentials, account))
    endpoints = dict.fromkeys(account.endpoint or default for account in selected) or (default,)
    probes = {
        endpoint: _check_endpoint(findings, endpoint, allow_plain_http=allow_plain_http) for endpoint in endpoints
    }
    for account in selected:
        endpoint = account.endpoint or default
        for resource in (one for one in RESOURCES if not resources or one.name in resources):
            call = partial(
                service.check_call,
                account,
                endpoint,
                probes[endpoint],
                resource,
                allow_plain_http=allow_plain_http,
                is_optional=resource.is_optional and not resources,
            )
            findings.check(f"one {resource.noun} of {account.label!r}", call)


def _check_endpoint(findings: Findings, endpoint: str, *, allow_plain_http: bool) -> Probe | None:
    """Probe an endpoint once, for three checks."""
    name = redact_userinfo(endpoint)
    result: Probe | None = findings.check_value(
        f"endpoint {name}",
        lambda: service.check_endpoint(endpoint, probe(endpoint, allow_plain_http=allow_plain_http)),
    )
    findings.check(f"TLS of {name}", lambda: service.check_tls(result))
    findings.check(f"clock beside {name}", lambda: service.check_clock(result))
    return result


def _check_machine(findings: Findings, data: Path, folders: Iterable[Path], extras: Mapping[str, str]) -> None:
    store = store_of(data)
    for extra, key in {**extras, **({store.extra: "data"} if store.extra else {})}.items():
        findings.check(f"extra {extra}", partial(machine.check_extra_for, extra, key))
    for folder in (data, *folders) if store.is_local else folders:
        findings.check(f"folder {str(folder)!r}", partial(machine.check_writable, folder))
    if store.is_local:
        findings.check("file system", lambda: machine.check_file_system(data, read_mounts()))
        findings.check("free space", lambda: machine.check_free_space(data))
    else:
        findings.check(f"bucket {str(data)!r}", partial(check_conditional_put, data))
    findings.check("versions", lambda: machine.check_installed(data))
    if store.has_lock:
        findings.check("lock", lambda: machine.check_lock(data))
