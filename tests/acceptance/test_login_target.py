"""`login`, `check` and `doctor` of targets that want OAuth 2.0, with a token server and the sandbox."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from ingestd import samples
from tests.acceptance.place import PROGRAM, ROOT, Place, SandboxProcess
from tests.unit.http.concur_server import (
    CLIENT,
    CLIENT_SECRET,
    COMPANY,
    REQUEST_TOKEN,
    ConcurServer,
    concur_server_aside,
    secret_in,
)

TARGET = """
[targets.company]
kind = "concur-image-v1"
url = "{url}"
[targets.company.oauth]
grant = "{grant}"
client_id = "{client}"
client_secret_file = "client-secret"
token_url = "{tokens}/oauth2/v0/token"
{more}
"""
ACCOUNTS = """
[targets.company.accounts.ann.oauth]
[targets.company.accounts.ben]
token_file = "token"
"""


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    process = SandboxProcess(tmp_path_factory.mktemp("sandbox") / "log")
    yield process
    process.end()


@pytest.fixture
def server(sandbox: SandboxProcess) -> Iterator[ConcurServer]:
    """Its logins live at the sandbox."""
    with concur_server_aside() as server:
        server.told["geolocation"] = sandbox.url
        yield server


@pytest.fixture
def place(tmp_path: Path, sandbox: SandboxProcess, server: ConcurServer) -> Place:
    place = Place(tmp_path / "place", sandbox.url)
    secret_in(place.directory / "client-secret", CLIENT_SECRET)
    return place


def configure(
    place: Place, server: ConcurServer, grant: str, more: str = "", *, url: str = "", accounts: bool = True
) -> None:
    path = place.directory / "ingestd.toml"
    url = url or str(server.told["geolocation"])
    with path.open("a") as file:
        file.write(TARGET.format(url=url, grant=grant, client=CLIENT, tokens=server.url, more=more))
        file.write(ACCOUNTS if accounts else "")


def ingestd(place: Place, *arguments: str, says: str = "", expect: int = 0) -> str:
    done = subprocess.run(
        place.command(*arguments),
        cwd=ROOT,
        input=says,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == expect, done
    return done.stdout + done.stderr


def test_a_company_logs_in_with_what_is_typed(place: Place, server: ConcurServer) -> None:
    configure(place, server, "company")
    told = ingestd(place, "check", expect=2)
    assert "targets.company.oauth: nobody has logged in yet; run: ingestd login company" in told
    assert "targets.company.accounts.ann.oauth: nobody has logged in yet; run: ingestd login company" in told
    told = ingestd(place, "login", "company", says=f"{COMPANY}\n{REQUEST_TOKEN}\n")
    assert "Company Request Token" in told and CLIENT in told
    assert "It is good until 2030-03-17" in told and "It works: SAP Concur answers" in told
    store = place.directory / "data/tokens/target.company.json"
    assert json.loads(store.read_text())["refresh_token"] in server.refresh_tokens
    assert not any(secret in told for secret in server.secrets())
    told = ingestd(place, "check", expect=2)
    assert "targets.company.oauth" not in told and "--account ann" in told


def test_check_tells_how_long_a_login_is_good(place: Place, server: ConcurServer) -> None:
    configure(place, server, "company", accounts=False)
    ingestd(place, "login", "company", says=f"{COMPANY}\n{REQUEST_TOKEN}\n")
    told = ingestd(place, "check")
    assert "targets.company.oauth: the login of company is good until 2030-03-17" in told


def test_a_company_logs_in_with_what_is_configured(place: Place, server: ConcurServer) -> None:
    secret_in(place.directory / "request", REQUEST_TOKEN)
    configure(place, server, "company", f'company_uuid = "{COMPANY}"\nrequest_token_file = "request"')
    told = ingestd(place, "login", "company")
    assert str(place.directory / "request") in told and "It works" in told
    assert [form["grant_type"] for form in server.forms] == ["password", "refresh_token"]


def test_a_person_logs_in_with_a_browser(place: Place, server: ConcurServer) -> None:
    configure(place, server, "refresh_token", 'redirect_url = "https://example.com/back"')
    process = subprocess.Popen(
        place.command("login", "company", "--account", "ann"),
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    told = ""
    while not (found := re.search(r"^http\S+/oauth2/v0/authorize\?\S+$", told, re.MULTILINE)):
        line = process.stdout.readline()
        assert line, told
        told += line
    query = parse_qs(urlsplit(found[0]).query)
    assert query["redirect_uri"] == ["https://example.com/back"]
    pasted = f"https://example.com/back?state={query['state'][0]}&code=code-1&geolocation={server.url}\n"
    process.stdin.write(pasted)
    process.stdin.close()
    told += process.stdout.read()
    process.stdout.close()
    assert process.wait(60) == 0, told
    assert "log in to SAP Concur as ann" in told and "It works" in told
    store = place.directory / "data/tokens/target.company.ann.json"
    assert json.loads(store.read_text())["refresh_token"] in server.refresh_tokens
    assert server.forms[0]["redirect_uri"] == "https://example.com/back"


def test_an_application_proves_that_it_gets_a_token(place: Place, server: ConcurServer) -> None:
    configure(place, server, "client_credentials")
    told = ingestd(place, "login", "company")
    assert "no person is needed" in told and "A token was given." in told and "It works" in told


def test_a_static_token_is_tried(place: Place, server: ConcurServer) -> None:
    configure(place, server, "company")
    told = ingestd(place, "login", "company", "--account", "ben")
    assert str(place.directory / "token") in told and "It works" in told
    place.token("expired-1")
    told = ingestd(place, "login", "company", "--account", "ben", expect=1)
    assert "does not accept the token" in told and "expired-1" not in told
    assert server.forms == []


def test_a_login_that_moves_says_where_it_lives_and_is_used_there(
    place: Place, server: ConcurServer, sandbox: SandboxProcess
) -> None:
    """The configured data centre gives tokens and has no API: it works because it moved to the sandbox."""
    configure(place, server, "client_credentials", url=server.url)
    told = ingestd(place, "login", "company")
    assert f"It lives at {sandbox.url}, where uploads go from now on." in told and "It works" in told


@pytest.mark.parametrize(
    ("typed", "expect", "words"),
    [
        (f"{COMPANY}\nrequest-token-wrong\n", 1, "lives for 24 hours"),
        (f"not-a-uuid\n{REQUEST_TOKEN}\n", 2, "it looks like"),
        (f"{COMPANY}\ntwo words\n", 2, "it is one word"),
        ("", 1, ""),
    ],
)
def test_a_login_that_comes_to_nothing_says_why(
    place: Place, server: ConcurServer, typed: str, expect: int, words: str
) -> None:
    configure(place, server, "company")
    told = ingestd(place, "login", "company", says=typed, expect=expect)
    assert words in told and "request-token-wrong" not in told and "Traceback" not in told
    assert not (place.directory / "data/tokens/target.company.json").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["compny"], "the targets are: concur, company"),
        (["company", "--account", "zoe"], "its accounts are: ann, ben"),
        (["mailboxes.company"], "there is no such mailbox or target"),
        (["both"], "write mailboxes.both or targets.both"),
        (["mailboxes.both", "--account", "ann"], "only targets have accounts"),
    ],
)
def test_a_name_that_is_none_or_two_is_told(
    place: Place, server: ConcurServer, arguments: list[str], words: str
) -> None:
    configure(place, server, "company")
    with (place.directory / "ingestd.toml").open("a") as file:
        file.write(f'[targets.both]\nkind = "concur-image-v1"\nurl = "{server.url}"\ntoken_file = "token"\n')
        file.write(
            '[[mailboxes]]\nname = "both"\nhost = "127.0.0.1"\nuser = "x"\nallow = ["*@example.com"]\n'
        )
    assert words in ingestd(place, "login", *arguments, expect=2)


def test_doctor_and_check_tell_the_days_left(place: Place, server: ConcurServer) -> None:
    server.told["refresh_expires_in"] = 5 * 24 * 3600 + 60
    secret_in(place.directory / "request", REQUEST_TOKEN)
    configure(place, server, "company", f'company_uuid = "{COMPANY}"\nrequest_token_file = "request"')
    ingestd(place, "login", "company")
    told = ingestd(place, "check", expect=2)
    assert "warning: targets.company.oauth: the login of company is good until" in told
    assert "5 days from now; run: ingestd login company" in told
    told = ingestd(place, "doctor", "--json", expect=1)
    findings = {(f["subject"], f["what"]): f for f in json.loads(told)["findings"]}
    assert findings["target company", "login"]["state"] == "warning"
    assert findings["target company", "login of ann"]["state"] == "bad"
    assert "5 days" in findings["target company", "login"]["says"]
    assert not any(secret in told for secret in server.secrets())


def test_login_wants_a_name() -> None:
    assert subprocess.run([*PROGRAM, "login"], cwd=ROOT, capture_output=True, check=False).returncode == 2


def test_a_receipt_is_uploaded_with_the_token_of_a_login(
    place: Place, server: ConcurServer, sandbox: SandboxProcess
) -> None:
    secret_in(place.directory / "request", REQUEST_TOKEN)
    configure(place, server, "company", f'company_uuid = "{COMPANY}"\nrequest_token_file = "request"')
    lunch = place.directory / "lunch.jpg"
    lunch.write_bytes(samples.jpeg(4711))
    ingestd(place, "submit", str(lunch), "--to", "company:receipt")
    told = ingestd(place, "run", "--until-idle")
    (receipt,) = place.receipts()
    assert receipt["state"] == "uploaded" and receipt["target"] == "company"
    assert receipt["image_id"] in {image["image_id"] for image in sandbox.images()}
    assert [form["grant_type"] for form in server.forms] == ["password"]
    assert '"login.renewed"' in told and not any(secret in told for secret in server.secrets())
