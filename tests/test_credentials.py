"""Credentials: the right word, the right exit code, and advice that fits; from real services over real sockets."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

import pytest
from credential_services import FOUND, CredentialServices, DrippingService

import pipeline.credential_chain.sources  # noqa: F401  (the vendor reads variables at import, before a test sets any)
from pipeline import credentials, run
from pipeline.credential_chain import transport
from pipeline.credentials import environment_account, profile_account
from pipeline.errors import BadSetting, ClockIsWrong, EnsImagesError, NoCredentials, Refused, Unreachable

if TYPE_CHECKING:
    from pathlib import Path

    from credential_services import Answer

STS = "sts.aliyuncs.com"
METADATA = "100.100.100.200"
ROLE = {"mode": "RamRoleArn", "access_key_id": "a", "access_key_secret": "s", "ram_role_arn": "acs:ram::1:role/r"}
DEAD = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """A home without credentials, on a machine that is no instance, and waits that a test can wait for."""
    for name in os.environ:
        if name.startswith(("ALIBABA_CLOUD_", "SSL_CERT")) or name.upper().endswith(("_PROXY", "_CA_BUNDLE")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "true")
    monkeypatch.setattr(credentials, "_FIRST_WAIT_SECONDS", 0.01)
    return tmp_path


def write_config(home: Path, config: Any, *, encoding: str = "utf-8") -> Path:
    """Write ~/.aliyun/config.json: a text as it is, profiles by their names as the command line writes them."""
    path = home / ".aliyun" / "config.json"
    path.parent.mkdir(exist_ok=True)
    if isinstance(config, dict):
        profiles = [{"name": name, **profile} for name, profile in config.items()]
        config = json.dumps({"current": next(iter(config)), "profiles": profiles})
    path.write_text(config, encoding)
    return path


def error_of(account: credentials.Account) -> EnsImagesError:
    with pytest.raises(EnsImagesError) as error:
        account.resolve()
    assert "\n" not in str(error.value)
    assert "Error(" not in str(error.value)
    return error.value


# ── services ─────────────────────────────────────────────────────────────────


def found_by_sts(_: str, path: str) -> Answer:
    return (200, "") if path == "CONNECT" else (200, {"Credentials": FOUND})


def test_a_role_is_assumed_through_a_proxy_with_an_authority_of_the_company(home, monkeypatch, self_signed):
    write_config(home, {"prod": ROLE, "chained": {**ROLE, "mode": "ChainableRamRoleArn", "source_profile": "prod"}})
    for bundle in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        with CredentialServices(found_by_sts, self_signed) as services, monkeypatch.context() as patch:
            patch.setenv(
                "ALL_PROXY" if bundle == "CURL_CA_BUNDLE" else "HTTPS_PROXY", services.url.replace("//", "//me:w@")
            )
            patch.setenv(bundle, str(self_signed))

            assert profile_account("prod").resolve().token == "t"
            assert profile_account("chained").resolve().id == "from-the-service"
        assert set(services.requests) == {f"GET {STS}/"}
        assert services.proxy_logins[0] == "Basic bWU6dw=="


def test_no_proxy_holds_for_credentials_too(home, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", DEAD)
    monkeypatch.setenv("NO_PROXY", "example.com,invalid")
    write_services(home, "http://sso.invalid")  # never a host: connected to directly, and not found

    error = error_of(profile_account("sso"))

    assert (type(error), "Proxy" in str(error)) == (Unreachable, False), error


@pytest.mark.parametrize(
    "answer",
    [
        (0, ""),
        (500, "<html>"),
        (503, {"Code": "ServiceUnavailable"}),
        (400, {"Code": "Throttling.User"}),
        (200, "<html>log in to this network</html>"),
    ],
)
def test_trouble_of_the_network_is_retried_and_is_not_a_refusal(monkeypatch, answer):
    with CredentialServices(lambda *_: answer) as services:
        monkeypatch.setenv("ALIBABA_CLOUD_CREDENTIALS_URI", f"{services.url}/key?secret=s3cret")
        error = error_of(environment_account())
        assert (type(error), error.exit_code, len(services.requests)) == (Unreachable, 5, 4), error
        assert f"no usable answer from {services.url} for the credentials of account 'default'" in str(error)
    assert "s3cret" not in str(error)


def test_a_service_that_answers_at_the_third_try_is_no_trouble(monkeypatch):
    answers: list[Answer] = [(0, ""), (502, ""), (200, {"Code": "Success", **FOUND})]
    with CredentialServices(lambda *_: answers.pop(0)) as services:
        monkeypatch.setenv("ALIBABA_CLOUD_CREDENTIALS_URI", f"{services.url}/key")
        assert environment_account().resolve().id == "from-the-service"


FUTURE = 4_000_000_000
SSO = {
    "mode": "CloudSSO",
    "cloud_sso_account_id": "1",
    "cloud_sso_access_config": "c",
    "access_token": "bearer-s3cret",
    "cloud_sso_access_token_expire": FUTURE,
}
OAUTH = {"mode": "OAuth", "oauth_access_token": "bearer-s3cret", "oauth_access_token_expire": FUTURE}
CHAINED = {**ROLE, "mode": "ChainableRamRoleArn", "source_profile": "base"}
OIDC = {"mode": "OIDC", "ram_role_arn": "r", "oidc_provider_arn": "p", "oidc_token_file": "/dev/null"}
SERVICES = {
    "role": ROLE,
    "chained": CHAINED,
    "oidc": OIDC,
    "sso": SSO,
    "oauth": OAUTH,
    "instance": {"mode": "EcsRamRole"},
}


def write_services(home: Path, url: str) -> None:
    """Profiles of every mode that calls a service; CloudSSO is at `url`, the others are behind the proxy."""
    write_config(home, {**SERVICES, "sso": {**SSO, "cloud_sso_sign_in_url": url}, "base": ROLE})


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_out_of_reach_is_out_of_reach(home, monkeypatch, name):
    write_services(home, DEAD)
    for variable in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, DEAD.replace("//", "//user:s3cret@"))
    if name == "instance":
        monkeypatch.delenv("ALIBABA_CLOUD_ECS_METADATA_DISABLED")

    error = error_of(profile_account(name))

    assert (type(error), error.exit_code) == (Unreachable, 5), error
    assert "refused" in str(error)  # the connection was
    assert not any(secret in str(error) for secret in ("s3cret", "Signature", "aliyun configure")), error


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_that_refuses_is_a_refusal(home, monkeypatch, self_signed, name):
    refusal = {"Code": "NoPermission", "Message": "You are not authorized."}

    with CredentialServices(
        lambda _, path: (200, "") if path == "CONNECT" else (403, refusal), self_signed
    ) as services:
        write_services(home, services.url)
        for variable in ("HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(variable, services.url)
        monkeypatch.setenv("SSL_CERT_FILE", str(self_signed))
        if name == "instance":
            monkeypatch.delenv("ALIBABA_CLOUD_ECS_METADATA_DISABLED")

        error = error_of(profile_account(name))

    assert (type(error), error.exit_code) == (Refused, 4), error
    assert "NoPermission: You are not authorized" in str(error)
    assert "aliyun configure" not in str(error)


def test_the_code_of_a_refusal_decides_about_the_advice(monkeypatch):
    cases = {
        "InvalidTimeStamp.Expired": (ClockIsWrong, "set the clock"),
        "InvalidAccessKeyId.NotFound": (Refused, "does not exist"),
        "SignatureDoesNotMatch": (Refused, "set both again"),
        "EntityNotExist.Role": (Refused, "role's name"),
    }
    for code, (kind, advice) in cases.items():
        message = "Not matched, server string to sign is:GET&SecurityToken%3Ds3cret"
        with CredentialServices(
            lambda *_, code=code, message=message: (400, {"Code": code, "Message": message})
        ) as services:
            monkeypatch.setenv("ALIBABA_CLOUD_CREDENTIALS_URI", f"{services.url}/key")
            error = error_of(environment_account())
        assert (type(error), advice in str(error), "s3cret" in str(error)) == (kind, True, False), error


def test_a_certificate_of_nobody_is_named_and_not_tried_again(home, monkeypatch, self_signed):
    write_config(home, {"prod": ROLE})
    with CredentialServices(found_by_sts, self_signed) as services:
        monkeypatch.setenv("HTTPS_PROXY", services.url)
        error = error_of(profile_account("prod"))

    assert (type(error), len(services.proxy_logins)) == (Unreachable, 1), error
    assert "certificate" in str(error)


@pytest.mark.parametrize(("status", "tries"), [(302, 1), (403, 1), (407, 1), (503, 4)])
def test_a_proxy_that_refuses_is_named_without_its_password(home, monkeypatch, self_signed, status, tries):
    write_config(home, {"prod": ROLE})
    with CredentialServices(lambda *_: (status, ""), self_signed) as services:
        monkeypatch.setenv("HTTPS_PROXY", services.url.replace("//", "//user:s3cret@"))
        error = error_of(profile_account("prod"))

    assert (type(error), len(services.proxy_logins)) == (Unreachable, tries), error
    assert f"the proxy answered CONNECT with HTTP status {status}" in str(error)
    assert ("try later" in str(error), "s3cret" in str(error)) == (status == 503, False), error


@pytest.mark.parametrize("password", ["s3/cret", "s3#cret"])
def test_a_proxy_password_that_is_not_percent_encoded_is_a_bad_setting(home, monkeypatch, password):
    write_config(home, {"prod": ROLE})
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:{password}@127.0.0.1:9")
    error = error_of(profile_account("prod"))

    assert (type(error), "must be percent-encoded" in str(error), "cret" in str(error)) == (BadSetting, True, False), (
        error
    )


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((200, "x" * 2_000_000), "larger than 1,048,576 bytes"),
        ((200, [b"{"] * 40), "no answer within 0.1 s"),
        ((302, ""), "HTTP status 302, a redirect to https://***@portal.example/login, which is not followed"),
        ((200, {"CloudCredential": None}), "unexpected form"),
        ((200, {"CloudCredential": {**FOUND, "Expiration": "soon"}}), "unexpected form"),
    ],
    ids=["large", "slow", "redirect", "null", "time"],
)
def test_an_answer_that_cannot_be_used_is_trouble_of_the_service(home, monkeypatch, answer, told):
    monkeypatch.setattr(transport, "_MAX_SECONDS", 0.1)
    with CredentialServices(lambda *_: answer) as services:
        write_services(home, services.url)
        error = error_of(profile_account("sso"))

    assert (type(error), told in str(error)) == (Unreachable, True), error


def test_headers_that_drip_have_the_deadline_of_the_answer(home, monkeypatch):
    monkeypatch.setattr(transport, "_MAX_SECONDS", 0.2)
    for start in (b"", b"HTTP/1.1 200 OK\r\nx: "):
        with DrippingService(start) as service:
            write_services(home, service.url)
            started = time.monotonic()
            error = error_of(profile_account("sso"))
        assert (type(error), "no answer within 0.2 s" in str(error)) == (Unreachable, True), error
        assert time.monotonic() - started < 4


def test_a_network_that_is_down_is_waited_for_once_and_not_for_each_account(home, tmp_path):
    with CredentialServices(lambda *_: (503, "")) as services:
        profile = {**SSO, "cloud_sso_sign_in_url": services.url}
        write_config(home, dict.fromkeys("abc", profile))
        with pytest.raises(Unreachable):
            run(tmp_path / "data", profiles=list("abc"), endpoint=DEAD)

    assert len(services.requests) == 4 + 1 + 1


# ── the metadata service ─────────────────────────────────────────────────────


@pytest.mark.parametrize("is_tls", [False, True], ids=["http", "https"])
def test_the_role_of_an_instance_is_used_through_a_proxy(monkeypatch, self_signed, is_tls):
    def metadata(_: str, path: str) -> Answer:
        return (200, {"Code": "Success", **FOUND}) if path.endswith("/reader") else (200, "reader")

    monkeypatch.delenv("ALIBABA_CLOUD_ECS_METADATA_DISABLED")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(self_signed))
    with CredentialServices(metadata, self_signed, is_tls=is_tls) as services:
        monkeypatch.setenv("HTTP_PROXY", services.url)
        account = environment_account()
        assert (account.resolve().token, account.found_by) == ("t", "default/ecs_ram_role")
    assert services.requests[0] == f"PUT {METADATA}/latest/api/token"


@pytest.mark.parametrize(
    ("role", "answer", "kind"),
    [
        ("reader", (0, ""), Unreachable),
        ("reader", (404, ""), Refused),
        ("", (503, ""), Unreachable),
        ("", (404, ""), NoCredentials),
    ],
)
def test_a_metadata_service_without_a_role_is_an_error_where_one_is_expected(monkeypatch, role, answer, kind):
    monkeypatch.delenv("ALIBABA_CLOUD_ECS_METADATA_DISABLED")
    monkeypatch.setenv("ALIBABA_CLOUD_ECS_METADATA", role)
    with CredentialServices(lambda *_: answer) as services:
        monkeypatch.setenv("HTTP_PROXY", services.url)
        error = error_of(environment_account())
    assert type(error) is kind, error


# ── no credentials ───────────────────────────────────────────────────────────


def test_no_credentials_is_one_line_with_every_source_in_order_and_advice_for_everybody(home, monkeypatch):
    monkeypatch.delenv("ALIBABA_CLOUD_ECS_METADATA_DISABLED")
    monkeypatch.setenv("HTTP_PROXY", DEAD)

    text = str(error_of(environment_account()))

    order = (
        "(1) ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET: not set; "
        "(2) ALIBABA_CLOUD_ROLE_ARN, ALIBABA_CLOUD_OIDC_PROVIDER_ARN, ALIBABA_CLOUD_OIDC_TOKEN_FILE: not set; "
        f"(3) there is no '{home}/.aliyun/config.json'; "
        f"(4) there is no '{home}/.alibabacloud/credentials.ini'; "
        f"(5) role of the instance: no answer from http://{METADATA}; "
        "(6) ALIBABA_CLOUD_CREDENTIALS_URI: not set"
    )
    assert text.startswith(f"no credentials for account 'default': {order}")
    assert "$" not in text
    for user in ("laptop", "cron", "container", "instance"):
        assert user in text.removeprefix(order)


def test_the_advice_fits_a_profile_that_exists(home):
    write_config(home, {"prod": {"mode": "AK", "access_key_id": "a", "access_key_secret": ""}})
    half, missing = (str(error_of(profile_account(name))) for name in ("prod", "other"))

    assert "profile 'prod' of" in half
    assert "has no access_key_secret" in half
    assert "there is no profile 'other' in" in missing
    assert "`aliyun configure --profile other` writes it" in missing


def test_a_source_that_fails_is_not_replaced_by_another_account(home, monkeypatch):
    write_config(home, {"prod": ROLE})
    monkeypatch.setenv("HTTPS_PROXY", DEAD)
    (home / ".alibabacloud").mkdir()
    (home / ".alibabacloud" / "credentials.ini").write_text(
        "[default]\ntype = access_key\naccess_key_id = other\naccess_key_secret = s\n"
    )

    assert type(error_of(environment_account())) is Unreachable

    write_config(home, {"default": {"mode": "AK", "access_key_id": "", "access_key_secret": ""}})
    assert environment_account().resolve().id == "other"  # an empty profile is not set up


# ── files ────────────────────────────────────────────────────────────────────

COMMENTED = """// the accounts of the edge team
{
  "current": "prod", /* of
  two lines */
  "profiles": [{"name": "prod", "mode": "AK", "access_key_id": "a//b", "access_key_secret": "s/*s*/"}] // end
}
"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_files_with_comments_and_a_byte_order_mark_are_read(home, encoding):
    write_config(home, COMMENTED, encoding=encoding)
    key = profile_account("prod").resolve()
    assert (key.id, key.secret, environment_account().resolve().id) == ("a//b", "s/*s*/", "a//b")

    (home / ".aliyun" / "config.json").unlink()
    (home / ".alibabacloud").mkdir()
    (home / ".alibabacloud" / "credentials.ini").write_text(
        "; ours\n# and theirs\n[default]\ntype = access_key\naccess_key_id = a  # reader\naccess_key_secret = 1%(x\n",
        encoding,
    )
    key = environment_account().resolve()
    assert (key.id, key.secret) == ("a", "1%(x")


AK = '"mode": "AK", "access_key_id": "a", "access_key_secret": "s3cret"'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"profiles": [\n{"name": "prod", ' + AK + "\n}", "line 3, column 2: not JSON: Expecting ',' delimiter"),
        ('["s3cret"]', "an object with a list of profiles is expected, and this is a list"),
        ('{"profiles": "s3cret"}', "profiles: a list of objects is expected"),
        ('{"profiles": ["s3cret"]}', "profiles: a list of objects is expected"),
        ("", "line 1, column 1: not JSON"),
        ("[" * 100_000, "nested too deeply"),
        (
            '{"profiles": [{"name": "prod", "mode": "AK", "access_key_id": ["s3cret"]}]}',
            "text is expected, and this is a list",
        ),
        (
            '{"profiles": [{"name": "prod", "mode": "RamRoleArn", "expired_seconds": 900.0}]}',
            "expired_seconds: a whole number is expected, and this is a decimal number",
        ),
        (
            '{"profiles": [{"name": "prod", ' + AK + '}, {"name": "prod", "mode": "External"}]}',
            "two profiles have the name 'prod'",
        ),
        ('{"profiles": [{"name": "prod", ' + AK + ', "mode": "AK"}]}', "the key 'mode' stands twice in one object"),
        ('{"profiles": [{"name": "prod", "s3cret": 1, "s3cret": 2}]}', "a key stands twice in one object"),
        ('{"profiles": [], "profiles": []}', "the key 'profiles' stands twice in one object"),
        ('{"profiles": [{"name": "prod", "mode": "Ak"}]}', "mode is 'Ak', and should be one of AK, StsToken"),
        (
            '{"profiles": [{"name": "prod", "mode": "ChainableRamRoleArn", "source_profile": "prod"}]}',
            "in a circle: 'prod' → 'prod'",
        ),
        (
            '{"profiles": [{"name": "prod", "mode": "ChainableRamRoleArn", "source_profile": "x"}]}',
            "there is no profile 'x'",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_line_and_reason(home, text, told):
    path = write_config(home, text)

    for account in (profile_account("prod"), environment_account()):
        if account.label == "default" and '"name"' in text:
            path.write_text(text.replace("{", '{"current": "prod", ', 1))
        error = error_of(account)
        assert (type(error), error.exit_code) == (BadSetting, 2), error
        assert (repr(str(path)) in str(error), told.rpartition("column")[2] in str(error)) == (True, True), error
        assert "s3cret" not in str(error)


def test_two_profiles_of_one_name_concern_those_alone_that_are_used(home):
    twice, once = (
        {"name": "base", **ROLE},
        {"name": "prod", "mode": "AK", "access_key_id": "a", "access_key_secret": "s"},
    )
    chained = {"name": "chained", "mode": "ChainableRamRoleArn", "ram_role_arn": "r", "source_profile": "base"}
    path = write_config(home, json.dumps({"profiles": [twice, once, chained, twice]}))

    assert profile_account("prod").resolve().id == "a"
    assert f"{str(path)!r}: two profiles have the name 'base'" in str(error_of(profile_account("chained")))


def test_two_profiles_that_lead_to_each_other_are_a_circle(home):
    chained = {"mode": "ChainableRamRoleArn", "ram_role_arn": "r"}
    write_config(home, {"a": {**chained, "source_profile": "b"}, "b": {**chained, "source_profile": "a"}})
    assert "'a' → 'b' → 'a'" in str(error_of(profile_account("a")))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"access_key_secret = s3cret\n", "line 1: a section such as [default] is expected first"),
        (b"[default]\ntype = access_key\ns3cret\n", "line 3: neither a section nor key = value"),
        (b"[default]\ntype = a\ntype = s3cret\n", "line 3: a section or a key stands there twice"),
        (b"[default]\ntype = \xe9s3cret\n", "line 2: not UTF-8"),
        ("[default]\n".encode("utf-16"), "line 1: not UTF-8"),
    ],
)
def test_an_ini_file_that_cannot_be_used_is_named_with_its_line(home, text, told):
    path = home / ".alibabacloud" / "credentials.ini"
    path.parent.mkdir()
    path.write_bytes(text)

    error = error_of(environment_account())

    assert (type(error), error.exit_code, told in str(error), "s3cret" in str(error)) == (BadSetting, 2, True, False), (
        error
    )
    assert repr(str(path)) in str(error)


def test_a_refreshed_login_is_written_back_to_a_file_with_a_byte_order_mark(home, monkeypatch, self_signed):
    def oauth(_: str, path: str) -> Answer:
        tokens = {"access_token": "new", "refresh_token": "next", "expires_in": 3600}
        return (200, "") if path == "CONNECT" else (200, tokens if path == "/v1/token" else FOUND)

    profile = {"name": "prod", **OAUTH, "oauth_access_token_expire": 1, "oauth_refresh_token": "old"}
    path = write_config(home, json.dumps({"current": "prod", "profiles": [profile]}), encoding="utf-8-sig")
    with CredentialServices(oauth, self_signed) as services:
        monkeypatch.setenv("HTTPS_PROXY", services.url)
        monkeypatch.setenv("SSL_CERT_FILE", str(self_signed))
        assert profile_account("prod").resolve().token == "t"

    written = json.loads(path.read_text("utf-8"))["profiles"][0]
    assert (written["oauth_refresh_token"], written["sts_token"]) == ("next", "t")


# ── certificate authorities ──────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_bundle_that_cannot_be_used_is_named(home, monkeypatch, name):
    write_config(home, {"prod": ROLE})
    for path, problem in (
        (home / "none.pem", "No such file"),
        (home / ".aliyun" / "config.json", "holds no certificate"),
    ):
        monkeypatch.setenv(name, str(path))
        error = error_of(profile_account("prod"))
        assert (type(error), f"{name} names {str(path)!r}: {problem}" in str(error)) == (BadSetting, True), error
