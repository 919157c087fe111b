"""No secret comes out: a part of `make fuzz`, and the vendor's code in its own process behind a proxy that quotes."""

import json
import subprocess
import sys
from urllib.parse import quote

import leaks
import pytest
from test_security import environment

FEW = ("headers in a message", "json with escaped slashes", "python", "without labels")


def test_no_secret_of_any_mode_stands_in_anything_that_a_user_reads(tmp_path):
    searched, findings = leaks.search(tmp_path, 1, quotations=FEW)

    assert findings == []
    assert searched["credentials"] == 10 * len(FEW) * 3
    assert searched["requests"] >= 7 * len(FEW) * 3  # all modes but AK, StsToken and External ask a service
    assert searched["bucket"] == 3 * len(leaks.QUOTATIONS)
    assert searched["file"] > 20
    assert searched["secrets"] > 100


@pytest.mark.parametrize(
    "spell", [str, lambda text: quote(text, safe=""), lambda text: json.dumps(text).replace("/", "\\/")]
)
def test_a_secret_is_found_in_every_spelling(spell):
    made = leaks.Secrets.of(1)
    token = made.token("t")

    assert leaks.planted_in(f"x={spell(token)}&y", made.by_name) == ["t"]
    assert leaks.planted_in("x=***&y", made.by_name) == []


def test_no_profile_and_no_proxy_tells_its_secret_to_a_terminal_or_a_lake(tmp_path):
    made = leaks.Secrets.of(2)
    names = leaks.write_profiles(tmp_path, made)
    with leaks.QuotingServer(made) as server:
        address = f"127.0.0.1:{server.port}"
        proxy = f"http://user:{quote(made.password('proxy'), safe='')}@{address}"
        variables = environment(tmp_path, HTTPS_PROXY=proxy, HTTP_PROXY=proxy, DEBUG="sdk", PYTHONASYNCIODEBUG="1")
        chosen = [word for name in names for word in ("--profile", name)]
        printed = ""
        for words in (["run", "-vv", "--summary", "summary.json"], ["doctor"], ["status"]):
            service = [] if words == ["status"] else [*chosen, "--endpoint", f"http://{address}"]
            done = subprocess.run(
                [sys.executable, "-m", "pipeline", *words, *service],
                cwd=tmp_path,
                env=variables,
                capture_output=True,
                encoding="utf-8",
                check=False,
            )
            assert done.returncode in {0, 4, 5}, done.stderr
            printed += done.stdout + done.stderr
    texts = {"printed": printed, **dict(leaks.read_everywhere(tmp_path))}

    assert all(name in printed for name in names)
    assert {place: found for place, text in texts.items() if (found := leaks.planted_in(text, made.by_name))} == {}
    assert "summary.json" in texts
