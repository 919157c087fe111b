"""A secret does not survive the redaction, whatever stands around it; what is none does."""

import json
import logging
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import Unreachable
from pipeline.extract.attempt import Attempt, utc_now
from pipeline.known_secrets import known_secrets
from pipeline.log import logger, redact_other_loggers
from pipeline.redaction import MARK, labelled_secrets, redact, redact_bytes

SECRET = "s3cretS3CRETs3cretS3"  # of no kind that is found without its label

PLACES = [
    "Max retries exceeded with url: /?AccessKeyId=LTAI&Signature={}%3D (Caused by X)",
    "407, message='no', url='http://user:{}@proxy:3128'",
    "cannot open https://host/path?SecurityToken={}&x=1",
    '{{"Code":"X","AccessKeySecret":"{}","b":1}}',
    '{{\\"SecurityToken\\":\\"{}\\"}}',
    "<SecurityToken>{}</SecurityToken>",
    "x-acs-security-token:{}\nhost:a",
    "Authorization: ACS3-HMAC-SHA256 Credential=LTAI,SignedHeaders=host,Signature={}",
    "{{'Authorization': 'Bearer {}', 'b': 1}}",
    "(b'x-acs-security-token', b'{}')",
    "user:{}@proxy:3128 refused",
    "AccessKeySecret = {}",
    "Signature%3D{}%26x",
    "http%3A%2F%2Fuser%3A{}%40host",
    "password: {}",
    "next=https://u:{}@h/ and s3://key:{}@bucket/lake",
    "Bearer {}",
    "&quot;SecurityToken&quot;:&quot;{}&quot;,&quot;b&quot;:1",
    "(&#x27;x-acs-security-token&#x27;, &#39;{}&#39;)",
    "{{\\&quot;Authorization\\&quot;: \\&quot;Bearer {}\\&quot;}}",
    "&amp;quot;AccessKeySecret&amp;quot; : &amp;quot;{}&amp;quot;",
    "next=%7B%22AccessKeySecret%22%3A%22{}%22%2C%22b%22%3A1%7D",
    "%7B%27SecurityToken%27:+%27{}%27%7D",
    "%255C%2522SecurityToken%255C%2522%253A%2520%255C%2522{}%255C%2522",
    '{{"Message": "no password", "token": "{}"}}',
    '["x-acs-security-token", "{}"]',
    "<AccessKeySecret>\n    {}\n  </AccessKeySecret>",
    "<SecurityToken>a > {}</SecurityToken>",
    "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----",
]

PROSE = [
    "IncompleteSignature: The request signature does not conform to Aliyun standards.",
    "InvalidSecurityToken.Expired: the security token is no longer valid; get new credentials",
    "Basic authentication required",
    "the bucket's endpoint is not an address: https://HOST is expected",
    "set ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET, or add a profile to ~/.aliyun/config.json",
    "Cannot connect to host ens.aliyuncs.com:443 ssl:default [Connection refused]",
    "https://ens.aliyuncs.com/?PageNumber=2&PageSize=50",
    "https://api.alibabacloud.com/troubleshoot?q=NoPermission&product=Ens&requestId=BAA7F095-BF21-455C-B28A-6AE9DF6D39D6",
    "account 'prod' was read 2 times and is not proven 'verified': 3 ids of 4 in the last pass",
    "<Credentials>\n  <AccessKeyId>LTAI</AccessKeyId>\n</Credentials>\n<token>\n</token>",
    "&quot;token&quot;: null, the &quot;token&quot;, which is empty: &quot;token&quot;: &quot;&quot;",
    "%22token%22%3Anull%2C%22Credentials%22%3A%7B%22Expiration%22%3A%222026%22%7D",
    '{"Message": "no password", "Status": 400}',
    '{"token": null, "Credentials": {"Expiration": "2026-01-01T00:00:00Z"}}',
    "run 20261123T020000.000000Z/prod in 'lake/observations/observed_on=2026-11-23/20261123T020000.000000Z.parquet'",
]


@pytest.mark.parametrize("place", PLACES)
def test_a_secret_is_removed_wherever_it_stands(place):
    text = place.format(SECRET, SECRET)

    assert SECRET not in redact(text)
    assert SECRET.encode() not in redact_bytes(text.encode())
    assert SECRET not in str(Unreachable(text))
    assert SECRET not in repr(Attempt(utc_now(), utc_now(), 0, 400, text, text.encode(), text, text))


@pytest.mark.parametrize("text", PROSE)
def test_what_is_no_secret_stays_as_it_is(text):
    assert redact(text) == text


def test_a_listing_stays_as_it_came_and_a_refusal_does_not():
    body = b'{"Images": {"Image": [{"ImageName": "Signature=abc http://a:b@c"}]}, "Code": 0}'

    assert Attempt(utc_now(), utc_now(), 0, 200, None, body, None, None).body == body
    assert Attempt(utc_now(), utc_now(), 0, 400, None, body, None, None).body != body


@given(
    st.lists(st.sampled_from([*PLACES, *PROSE, '"', "'", "\\", "&", "?", "=", "@", "://", "token", " ", "\n", "{}"]))
)
def test_redacting_twice_changes_nothing_more(parts):
    once = redact("".join(parts))

    assert redact(once) == once


TEXTS = st.sampled_from([*PLACES, *PROSE]).map(lambda place: place.replace("{}", SECRET)) | st.text()
TEXTS |= st.sampled_from(["no password=", "the Authorization:", "token,", "&quot;token&quot;:&quot;", "token%22%3A%22"])
VALUES = st.recursive(
    TEXTS | st.none() | st.booleans() | st.integers(),
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS | st.sampled_from(["token", "Signature"]), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["Message", "token", "Authorization", "x"]), VALUES), st.booleans())
def test_json_stays_json_with_its_code(values, ascii_only):
    body = json.dumps({"Code": "NoPermission", **values, "Status": 400}, ensure_ascii=ascii_only).encode(
        "utf-8", "replace"
    )
    redacted = json.loads(redact_bytes(body))

    assert (redacted["Code"], redacted["Status"]) == ("NoPermission", 400)


@given(st.text(min_size=4), st.text(), st.text())
def test_a_known_secret_is_removed_without_a_label(secret, before, after):
    for text in (f"{before}{secret}{after}", json.dumps(f"{before}{secret}{after}")):
        assert secret not in redact(text, [secret]).replace(MARK, "")


LONG = ["http://", "a", "?a=", "token", "token:", "\\", "a:b@", "secret='", "authorization= ", "CAIS", "eyJaaaaaaaaa"]
LONG += ["basic ", "-----BEGIN PRIVATE KEY-----", "%3a%2f%2f", 'token" ']
LABELS = ["authorization", "cookie", "password", "passwd", "passphrase", "pwd", "secret_access_key", "secret", "token"]
LABELS += ["signature", "credentials", "assertion", "api_key", "private-key"]
LONG += [f"{label}=" for label in LABELS] + [f"token{sign}" for sign in (">", "=>", "=b:", "(", "[", "{", ",", "&")]
LONG += [">\n", "token>\n\n", "token&quot;", "token&quot;:&quot;", "token%22", "token%22%3A%22", "%5c", "token%22+"]
LONG += ["token',", "token',' "]


@pytest.mark.parametrize("unit", LONG)
def test_the_time_grows_with_the_length_alone(unit):
    content = (unit * (100_000 // len(unit)) + '"').encode()
    began = time.process_time()
    redact_bytes(content)

    assert time.process_time() - began < 1  # where it grew with the square, it would be minutes


def test_what_a_library_logs_and_what_we_log_is_redacted_with_its_traceback(caplog):
    redact_other_loggers()
    text = f"proxy=URL('http://user:{SECRET}@h:1') Signature={SECRET}"
    logging.getLogger("asyncio").error("Unclosed connection %s", text)
    try:
        raise RuntimeError(text)  # noqa: TRY301  (it is what is caught)
    except RuntimeError as error:
        logging.getLogger("aiohttp.client").exception("failed")
        logger("pipeline.test").warning("unexpected: %s", error, exc_info=error)
        logger("pipeline.test").exception("unexpected")

    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR", "WARNING", "ERROR"]
    assert caplog.text.count("RuntimeError: proxy=URL('http://***@h:1') Signature=***") == 3
    assert SECRET not in caplog.text + str([record.__dict__ for record in caplog.records])


def test_the_traceback_of_a_bug_is_redacted():
    bug = f"""
from pipeline import cli
def bug(*_): raise RuntimeError("http://user:{SECRET}@host/?Signature={SECRET}")
cli.run_command = bug
cli.main([])"""
    done = subprocess.run([sys.executable, "-c", bug], capture_output=True, encoding="utf-8", check=False)

    assert done.returncode == 1
    assert done.stderr.endswith("RuntimeError: http://***@host/?***\n")


def test_secrets_of_files_and_variables_are_known(tmp_path, monkeypatch):
    (tmp_path / ".aliyun").mkdir()
    (tmp_path / "token").write_text(f"{SECRET}-of-a-file\n")
    profile = {
        "access_key_secret": f"{SECRET}/x",
        "oidc_token_file": str(tmp_path / "token"),
        "name": "prod-of-the-company",
    }
    (tmp_path / ".aliyun" / "config.json").write_text(json.dumps({"profiles": [profile]}).replace("/x", "\\/x"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HTTPS_PROXY", "http://user:pass%2Fword@proxy:3128")
    monkeypatch.setenv("ALIBABA_CLOUD_CREDENTIALS_URI", f"http://host/{SECRET}-path?key={SECRET}-query")

    known = known_secrets()

    assert {
        f"{SECRET}/x",
        f"{SECRET}-of-a-file",
        "pass/word",
        "pass%2Fword",
        f"{SECRET}-path",
        f"{SECRET}-query",
    } <= known
    assert "prod-of-the-company" not in known
    assert labelled_secrets("token = ***") == set()
