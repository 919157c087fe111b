"""Redaction: remove secrets from a text of a library or a server before it is printed, logged or stored. Pure.

    redact(text, secrets)          a message: exceptions, headers, URLs
    redact_bytes(content, secrets) the same for a body, whatever its encoding; JSON stays JSON
    labelled_secrets(text)         the values that a text labels as secrets
    redact_userinfo(address)       an address that may be no URL

Two ways, the first of them for secrets that this process knows:

    by value      every usual spelling of `secrets`: as is, in JSON, percent-encoded, in base64
    by pattern    user and password in URLs, queries of URLs, values after a label (`Signature=…`, `"SecurityToken": …`,
                  headers; in quotes as HTML or a URL spells them), bearer and basic credentials, JSON web tokens,
                  STS tokens, private keys

Each pattern takes a time that grows with the length of the text alone, so that a hostile body cannot stop a run.
Redacting twice changes nothing more.
"""

from __future__ import annotations

import base64
import binascii
import html
import json
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MARK: Final = "***"
"""What stands in place of a secret."""

_FLAGS: Final = re.IGNORECASE | re.ASCII
_TOKEN: Final = r"(?:[^\s\"'<>\\]|\\[^\s\"'])*+"  # noqa: S105  (a pattern)
"""The rest of a URL, at most to a quote; an escape of JSON is taken as a whole."""
_PRIVATE_KEY: Final = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?:(?!-----END)[^\"'])*+")
_URL: Final = re.compile(rf":(?P<slashes>(?:\\?/){{2}})(?P<rest>{_TOKEN})", _FLAGS)
_ENCODED_URL: Final = re.compile(r"(%3a%2f%2f)([^\s\"'<>\\&]*+)", _FLAGS)
_QUERY: Final = re.compile(rf"\?(?P<query>[\w.~%+*-]++={_TOKEN})", _FLAGS)
_HARMLESS: Final = re.compile(
    r"(?:(?:(?:q|product)=[a-z.]{0,60}|requestid=[0-9a-f-]{0,36}|page(?:number|size)=\d{0,9})(?:&|\\u0026|\Z))+", _FLAGS
)
"""Parameters that stay: those of the page of help that each refusal names, and those of our calls."""
_USER: Final = re.compile(
    r"(?<![^\s\"'@/<>\\])(?P<before>(?>(?:(?<![@/\\])|[^\s\"'@/<>\\]*?[(\[{,=])(?=[^\s\"'@:/<>\\])))"
    r"[^\s\"'@:/<>\\]++:[^\s\"'@/<>\\]++@(?=[\w\[.-])",
    _FLAGS,
)
"""From the first place of a word where a user may begin: to try each of them would take the square of its length."""
_REQUESTED: Final = re.compile(rf"(with url: ){_TOKEN}", _FLAGS)
"""How urllib3 names a path: that of a credentials URI is a secret by itself."""
_LABEL: Final = (
    r"(?P<label>authorization|cookie|passw(?:or)?d|passphrase|pwd|secret(?:[_-]?access)?(?:[_-]?key)?|token|signature"
    r"|credentials?|assertion|(?:api|private)[_-]?key)"
)
_LABELLED: Final = re.compile(
    rf"{_LABEL}"
    r"(?P<sep>\\*[\"']\s*(?:[:=]|,(?!\s*\\*[\"'][^\"'\\]*+\\*[\"']\s*:)|=>)\s*(?:\[\s*)?"
    r"|\s*(?:=|%3d|&\#61;)>?\s*|:\s*|(?=>))"
    r"(?P<value>b?\"(?:[^\"\\\r\n]|\\[^\r\n])*+|b?'(?:[^'\\\r\n]|\\[^\r\n])*+|\\++[\"'](?:[^\"'\\\r\n]|\\[^\r\n\"'\\])*+"
    r"|>\s*+[^\s<>\"']++\s*+(?=</)|>(?:[^<>\r\n\"']*+|[^<\r\n\"']{0,256}+)(?=<|$)|(?:[^\s\"'\\&<>,;(){}\[\]|]|\\/|\\u[0-9a-f]{4})++)",
    _FLAGS,
)
_ENTITY: Final = r"\\*&(?:amp;){0,3}(?:quot|apos|\#0{0,3}3[49]|\#x0{0,3}2[27]);"
_ENCODED: Final = r"(?:%(?:25){0,3}5c){0,3}%(?:25){0,3}2[27]"
"""A quote in HTML, and one that is percent-encoded; each may be spelled anew a few times."""
_LABELLED_IN_HTML: Final = re.compile(
    rf"(?P<before>{_LABEL}{_ENTITY}\s*[:=,]>?\s*(?:\[\s*)?{_ENTITY})"
    rf"(?:[^\r\n\"'&<>\\]|\\/|\\u[0-9a-f]{{4}}|(?!{_ENTITY})&)++",
    _FLAGS,
)
_LABELLED_IN_URL: Final = re.compile(
    rf"(?P<before>{_LABEL}{_ENCODED}(?:%(?:25){{0,3}}20|\+)*+(?:[:=,]|%(?:25){{0,3}}(?:3a|3d|2c))"
    rf"(?:%(?:25){{0,3}}(?:20|5b)|[+\[])*+{_ENCODED})(?:[^\s\"'&<>\\%]|(?!{_ENCODED})%)++",
    _FLAGS,
)
_BETWEEN_STRINGS: Final = re.compile(r"b?\"\s*[,:\]}](?:[\s,:\[\]{}]|-?\d[\d.e+-]*+|true|false|null)*+", re.IGNORECASE)
"""What JSON has between two strings: it follows a string that ends with a label, such as `"password="`."""
_SENTENCE: Final = ("authorization", "cookie")
"""Labels whose value has spaces: it ends with the line or the quote."""
_END_OF_SENTENCE: Final = re.compile(r"[\"'<>\\\r\n]")
_SHORTEST_IN_PROSE: Final = 16
"""After `Signature: ` and the like a shorter word is prose: `IncompleteSignature: The signature …`."""
_SCHEME: Final = re.compile(r"\b(?P<scheme>bearer|basic|negotiate|ntlm)(?P<gap>\s+)(?P<value>[\w.~+/-]++=*+)", _FLAGS)
_BARE: Final = re.compile(
    r"(?<![\w.-])eyJ[\w-]{8,}+(?:\.[\w-]*+){1,2}|(?<![\w.-])CAIS(?:[\w+=%-]|\\?/){24,}+"
    r"|(?<![\w-])(?=[a-zA-Z]{0,29}\d)(?=[a-z\d]{0,29}[A-Z])(?=[A-Z\d]{0,29}[a-z])[a-zA-Z\d]{30}(?![\w-])",
    re.ASCII,
)
"""A JSON web token, as OIDC has; a security token of STS; the secret of an access key: thirty letters and digits."""


_UUID: Final = re.compile(r"[\dA-F]{8}-(?:[\dA-F]{4}-){3}[\dA-F]{12}", _FLAGS)
"""A request id: no pattern matches a part of it, and each answer has one (60 µs)."""


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Return `text` without secrets: each is replaced by `***`.

    `secrets` are values that this process knows; a short one should be among them only where it cannot stand for
    something else.
    """
    secrets = frozenset(secrets)
    if _UUID.fullmatch(text) and not any(secret in text for secret in secrets):
        return text
    for spelling in _spellings(secrets):
        text = text.replace(spelling, MARK)
    text = _PRIVATE_KEY.sub(MARK, text)
    text = _URL.sub(_without_userinfo_and_query, text)
    text = _ENCODED_URL.sub(_without_encoded_userinfo, text)
    text = _REQUESTED.sub(rf"\1{MARK}", text)
    text = _QUERY.sub(lambda match: match[0] if _HARMLESS.fullmatch(match["query"]) else f"?{MARK}", text)
    text = _USER.sub(rf"\g<before>{MARK}@", text)
    for pattern in (_LABELLED_IN_HTML, _LABELLED_IN_URL):
        text = pattern.sub(rf"\g<before>{MARK}", text)
    text = _redact_labelled(text)
    text = _SCHEME.sub(_without_credentials, text)
    return _BARE.sub(MARK, text)


def redact_bytes(content: bytes, secrets: Iterable[str] = ()) -> bytes:
    """Return `content` without secrets, and otherwise byte for byte as it was."""
    known = [secret.encode("utf-8", "surrogatepass").decode("latin-1") for secret in secrets]
    return redact(content.decode("latin-1"), known).encode("latin-1")


def redact_userinfo(address: str) -> str:
    """Spell an address without the user and the password that may stand in it, even where it is no URL."""
    return re.sub(r"^([\w+.-]+://)?.*@", rf"\1{MARK}@", address, flags=re.DOTALL)


def labelled_secrets(text: str) -> set[str]:
    """Return the values that `text`, such as a file of profiles, labels as secrets: as spelled, and as JSON means them.

    A value that is `***` already is none.
    """
    found = set()
    for match in _LABELLED.finditer(text):
        value = match["value"].removeprefix("b").lstrip("\\").strip("\"'>").strip() if _is_secret(match) else ""
        found |= {value, _json_meaning(value)}
    return found - {"", MARK}


def _spellings(secrets: Iterable[str]) -> list[str]:
    """Return every usual spelling of the secrets, the longest first: one may be a part of another."""
    spellings = set()
    for secret in filter(None, secrets):
        escaped = json.dumps(secret)[1:-1]
        encoded = {quote(secret, safe=""), quote(secret), quote_plus(secret)}
        spellings |= {secret, escaped, escaped.replace("/", "\\/"), html.escape(secret), repr(secret)[1:-1], *encoded}
        spellings |= {re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), text) for text in encoded}
        spellings.add(base64.b64encode(secret.encode("utf-8", "surrogatepass")).decode())
    return sorted(spellings, key=len, reverse=True)


def _json_meaning(value: str) -> str:
    try:
        return str(json.loads(f'"{value}"'))
    except ValueError:
        return value


def _without_userinfo_and_query(match: re.Match[str]) -> str:
    rest = match["rest"]
    if "@" in rest:
        rest = f"{MARK}@{rest.rpartition('@')[2]}"
    before, question, query = rest.partition("?")
    if query and not _HARMLESS.fullmatch(query):
        rest = f"{before}{question}{MARK}"
    before, hash_mark, fragment = rest.partition("#")
    if "=" in fragment:
        rest = f"{before}{hash_mark}{MARK}"
    return f":{match['slashes']}{rest}"


def _without_encoded_userinfo(match: re.Match[str]) -> str:
    place = match[2].rfind("%40")
    return match[0] if place < 0 else f"{match[1]}{MARK}{match[2][place:]}"


def _redact_labelled(text: str) -> str:
    parts = list(_labelled_parts(text))
    return "".join(parts) if parts else text


def _labelled_parts(text: str) -> Iterator[str]:
    """Yield the text around each labelled value, and the mark in its place; nothing where there is no such value."""
    at = 0
    for match in _LABELLED.finditer(text):
        if match.start() < at or not _is_secret(match):
            continue
        yield text[at : match.start("value")]
        value = match["value"]
        quoting = re.match(r"b?\\*[\"']|>", value)
        at = match.end()
        is_json = quoting is None and match["sep"].startswith('"') and ":" in match["sep"]
        if quoting is None and not is_json and match["label"].lower() in _SENTENCE:
            end = _END_OF_SENTENCE.search(text, at)
            at = end.start() if end else len(text)
        yield f"{quoting[0] if quoting else ''}{MARK}" if not is_json else f'"{MARK}"'
    if at:
        yield text[at:]


def _is_secret(match: re.Match[str]) -> bool:
    """Tell a value from prose that happens to follow a label, and from a value that JSON spells without quotes."""
    label, sep, value = match["label"].lower(), match["sep"], match["value"]
    if value.rstrip() in {"null", "true", "false", "None", "True", "False", ">", '"', "'", "b'", 'b"'}:
        return False
    if _BETWEEN_STRINGS.fullmatch(value):
        return False
    if not (sep.startswith(":") and sep[1:]) or value[0] in "\"'":
        return True
    return label in {*_SENTENCE, "password", "passwd", "passphrase", "pwd"} or len(value) >= _SHORTEST_IN_PROSE


def _without_credentials(match: re.Match[str]) -> str:
    value = match["value"]
    if match["scheme"].lower() == "basic":
        is_secret = _is_user_and_password(value)
    else:
        is_secret = len(value) >= _SHORTEST_IN_PROSE or any(character.isdigit() for character in value)
    return f"{match['scheme']}{match['gap']}{MARK}" if is_secret else match[0]


def _is_user_and_password(encoded: str) -> bool:
    try:
        return b":" in base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return False
