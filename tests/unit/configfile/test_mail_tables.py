"""[[mailboxes]], [[people]] and [smtp]: what they become, each mistake with its key and its fix."""

import tomllib
from datetime import timedelta
from pathlib import Path

import pytest

from ingestd.configfile import cautions, parse_configuration
from ingestd.domain.errors import ConfigurationError
from ingestd.domain.mail import Person
from ingestd.normalizer.mail_bounds import MOST_MESSAGE_BYTES
from ingestd.settings import Flood, MailboxSettings, Secret, Settings, SmtpSettings

STORAGE = '[storage]\ndirectory = "/var/lib/ingestd"\n'
MAILBOX = """
[[mailboxes]]
name = "receipts"
host = "imap.example.com"
user = "receipts@example.com"
allow = ["*@example.com"]
"""
SMTP = '[smtp]\nhost = "smtp.example.com"\nsender = "receipts@example.com"\n'
TARGETS = """
[targets.concur]
kind = "concur-image-v1"
url = "https://us2.api.concursolutions.com"
[targets.concur.accounts.ann]
[targets.other]
kind = "concur-image-v1"
url = "https://eu.api.concursolutions.com"
"""
ANN = '[[people]]\nname = "Ann"\naddresses = ["ann@example.com"]\naccount = "ann"\n'


def parse(text: str) -> Settings:
    return parse_configuration(tomllib.loads(STORAGE + text), base=Path("/etc/ingestd"), origin="x.toml")


def mailbox(text: str = "") -> MailboxSettings:
    return parse(MAILBOX + text).mailboxes[0]


def oauth(text: str) -> str:
    return f'{MAILBOX}[mailboxes.oauth]\nclient_id = "me"\n{text}'


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        parse(text)
    return list(caught.value.problems)


# --- what they become --------------------------------------------------------------------------------------


def test_a_mailbox_has_the_defaults_of_the_settings() -> None:
    assert mailbox() == MailboxSettings(
        name="receipts",
        host="imap.example.com",
        user="receipts@example.com",
        password=Secret(environment="INGESTD_RECEIPTS_PASSWORD"),
        allow=("*@example.com",),
    )


def test_exchange_online_which_names_itself_nowhere_can_be_trusted() -> None:
    assert mailbox('trusted_authserv = [""]').trusted_authserv == ("",)


def test_every_key_of_a_mailbox_arrives() -> None:
    found = mailbox(
        'port = 1993\nca_file = "ca.pem"\npassword_file = "imap-password"\nmailbox = "Receipts/New"\n'
        'addresses = ["spesen@example.com"]\nrequire = "dkim"\ntrusted_authserv = ["mx.example.com"]\n'
        'strangers = "reject"\nflood = "20/10m"\nafter = "flag"\nuploaded = "Done"\nrejected = "Bad"\n'
        'poll = "1m"\nidle = "20m"\ndeadline = "5s"\nmax_size = "10MB"\n'
    )
    assert found == MailboxSettings(
        name="receipts",
        host="imap.example.com",
        port=1993,
        ca_file=Path("/etc/ingestd/ca.pem"),
        user="receipts@example.com",
        password=Secret(file=Path("/etc/ingestd/imap-password")),
        mailbox="Receipts/New",
        addresses=("spesen@example.com",),
        allow=("*@example.com",),
        require="dkim",
        trusted_authserv=("mx.example.com",),
        strangers="reject",
        flood=Flood(messages=20, within=timedelta(minutes=10)),
        after="flag",
        uploaded="Done",
        rejected="Bad",
        poll=timedelta(minutes=1),
        idle=timedelta(minutes=20),
        deadline=timedelta(seconds=5),
        max_size=10_000_000,
    )


def test_without_tls_the_port_is_another() -> None:
    text = MAILBOX.replace("imap.example.com", "127.0.0.1") + 'security = "none"'
    assert parse(text).mailboxes[0].port == 143


def test_a_bare_password_name_is_a_credential_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "imap-password").touch()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert mailbox('password_file = "imap-password"').password == Secret(file=tmp_path / "imap-password")


def test_microsoft_is_known() -> None:
    found = parse(oauth('provider = "microsoft"\ntenant = "example.com"')).mailboxes[0].oauth
    assert found is not None
    assert found.token_url == "https://login.microsoftonline.com/example.com/oauth2/v2.0/token"
    assert found.device_url == "https://login.microsoftonline.com/example.com/oauth2/v2.0/devicecode"
    assert found.scope == "https://outlook.office365.com/IMAP.AccessAsUser.All offline_access"
    assert (found.grant, found.client_secret, found.refresh_token) == ("refresh_token", None, None)
    assert found.store == Path("/var/lib/ingestd/tokens/receipts.json")
    anybody = parse(oauth('provider = "microsoft"')).mailboxes[0].oauth
    assert anybody is not None and "/common/" in anybody.token_url


def test_an_application_logs_in_as_itself() -> None:
    text = 'provider = "microsoft"\ntenant = "t"\ngrant = "client_credentials"'
    found = parse(oauth(text)).mailboxes[0].oauth
    assert found is not None
    assert found.scope == "https://outlook.office365.com/.default"
    assert found.client_secret == Secret(environment="INGESTD_RECEIPTS_CLIENT_SECRET")
    assert found.refresh_token is None


def test_google_is_known_and_needs_a_browser() -> None:
    found = parse(oauth('provider = "google"\nclient_secret_file = "s"')).mailboxes[0].oauth
    assert found is not None
    assert (found.token_url, found.scope) == (
        "https://oauth2.googleapis.com/token", "https://mail.google.com/",
    )  # fmt: skip
    assert found.device_url is None
    assert found.authorize_url == "https://accounts.google.com/o/oauth2/v2/auth"
    assert found.client_secret == Secret(file=Path("/etc/ingestd/s"))


def test_what_is_written_wins_over_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGESTD_RECEIPTS_REFRESH_TOKEN", "x")
    text = 'provider = "google"\ntoken_url = "https://a.example/t"\nscope = "imap"'
    found = parse(oauth(text)).mailboxes[0].oauth
    assert found is not None
    assert (found.token_url, found.scope) == ("https://a.example/t", "imap")
    assert found.refresh_token == Secret(environment="INGESTD_RECEIPTS_REFRESH_TOKEN")


def test_people_arrive() -> None:
    text = (
        ANN + 'delegates = ["assistant@example.com"]\n[[people]]\nname = "Bo"\naddresses = ["bo@example.com"]'
    )
    assert parse(TARGETS + text).people == (
        Person(
            name="Ann",
            addresses=("ann@example.com",),
            account="ann",
            delegates=("assistant@example.com",),
        ),
        Person(name="Bo", addresses=("bo@example.com",)),
    )


def test_the_largest_message_that_can_be_opened_may_be_taken() -> None:
    assert mailbox('max_size = "150MB"').max_size == MOST_MESSAGE_BYTES


@pytest.mark.parametrize(("security", "port"), [("tls", 465), ("starttls", 587), ("none", 25)])
def test_the_port_of_smtp_follows_from_its_security(security: str, port: int) -> None:
    text = SMTP.replace("smtp.example.com", "localhost") + f'security = "{security}"'
    smtp = parse(text).smtp
    assert smtp is not None and smtp.port == port


def test_smtp_arrives() -> None:
    assert parse(SMTP).smtp == SmtpSettings(
        host="smtp.example.com", port=465, security="tls", sender="receipts@example.com"
    )
    text = 'port = 26\nca_file = "ca"\nuser = "me"\ntemplates = "words"\nmost_per_hour = 3\ntimeout = "5s"'
    assert parse(SMTP + text).smtp == SmtpSettings(
        host="smtp.example.com",
        port=26,
        security="tls",
        sender="receipts@example.com",
        ca_file=Path("/etc/ingestd/ca"),
        user="me",
        password=Secret(environment="INGESTD_SMTP_PASSWORD"),
        templates=Path("/etc/ingestd/words"),
        most_per_hour=3,
        timeout=timedelta(seconds=5),
    )


def test_an_answer_may_come_from_a_name() -> None:
    smtp = parse(SMTP.replace("receipts@", "Receipts <receipts@").replace('.com"\n', '.com>"\n', 2)
                 .replace("smtp.example.com>", "smtp.example.com")).smtp  # fmt: skip
    assert smtp is not None and smtp.sender == "Receipts <receipts@example.com>"


# --- mistakes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        (MAILBOX + "pol = 1", "mailboxes[1].pol", "the keys are: name, host, port"),
        (oauth('provider = "google"\nsecret = "x"'), "mailboxes[1].oauth.secret", "client_secret_file"),
        (ANN + 'mail = "x"', "people[1].mail", "addresses"),
        (SMTP + 'password = "x"', "smtp.password", "password_file"),
        ('[[mailboxes]]\nname = "a"\nhost = "b"', "mailboxes[1].user", "missing"),
        (MAILBOX + 'security = "starttls"', "mailboxes[1].security", "'tls' or 'none'"),
        (MAILBOX + 'security = "none"', "mailboxes[1].security", "only to loopback"),
        (MAILBOX + "port = 0", "mailboxes[1].port", "greater than or equal to 1"),
        (MAILBOX.replace("imap.example.com", "imap.example.com:993"), "mailboxes[1].host", "own key"),
        (MAILBOX.replace("imap.example.com", "https://a"), "mailboxes[1].host", "a host name alone"),
        (MAILBOX.replace("imap.example.com", ""), "mailboxes[1].host", "a host name alone"),
        (MAILBOX + 'mailbox = "IN\\rBOX"', "mailboxes[1].mailbox", "control character"),
        (MAILBOX + 'uploaded = "a\\u202eb"', "mailboxes[1].uploaded", "control character"),
        (MAILBOX + 'rejected = ""', "mailboxes[1].rejected", "empty"),
        (MAILBOX.replace("receipts@example", "a\\u0000b@example"), "mailboxes[1].user", "control"),
        (MAILBOX + 'flood = "many"', "mailboxes[1].flood", '"500/1h"'),
        (MAILBOX + 'flood = "0/1h"', "mailboxes[1].flood", '"500/1h"'),
        (MAILBOX + 'flood = "5/0s"', "mailboxes[1].flood", '"500/1h"'),
        (MAILBOX + "flood = 5", "mailboxes[1].flood", '"500/1h"'),
        (MAILBOX + 'max_size = "151MB"', "mailboxes[1].max_size", 'write "150MB" or less'),
        (MAILBOX + 'poll = "1s"', "mailboxes[1].poll", "5s or more"),
        (MAILBOX + 'idle = "30m"', "mailboxes[1].idle", "29m"),
        (MAILBOX + 'deadline = "100ms"', "mailboxes[1].deadline", "1s or more"),
        (MAILBOX + 'addresses = ["no address"]', "mailboxes[1].addresses", "receipts@example.com"),
        (MAILBOX.replace('["*@example.com"]', "[]"), "mailboxes[1].allow", "nobody may send"),
        (MAILBOX.replace("*@example.com", "example.com"), "mailboxes[1].allow", "*@example.com"),
        (MAILBOX.replace("*@example.com", "@example.com"), "mailboxes[1].allow", "*@example.com"),
        (MAILBOX.replace("*@example.com", "Ann <ann@example.com>"), "mailboxes[1].allow", "*@example.com"),
        (MAILBOX.replace("*@example.com", "a@b.example; c@d.example"), "mailboxes[1].allow", "*@example.com"),
        (
            MAILBOX + 'trusted_authserv = ["mx.example.com;"]',
            "mailboxes[1].trusted_authserv",
            "mx.example.com",
        ),
        (MAILBOX + 'trusted_authserv = [" "]', "mailboxes[1].trusted_authserv[1]", "leave the key out"),
        (MAILBOX + "reply = true", "mailboxes[1].reply", "[smtp]"),
        (MAILBOX + 'uploaded = "Inbox"', "mailboxes[1].uploaded", "this mailbox itself"),
        (MAILBOX + 'rejected = "INBOX"', "mailboxes[1].rejected", "this mailbox itself"),
        (MAILBOX.replace("receipts", "submit", 1), "mailboxes[1].name", "taken"),
        (MAILBOX + '[[folders]]\nname = "receipts"\npath = "/a"', "mailboxes[1].name", "taken"),
        (MAILBOX + MAILBOX.replace('"receipts"', '"other"'), "mailboxes[2].mailbox", "'receipts' already"),
        (
            MAILBOX
            + MAILBOX.replace('"receipts"', '"other"')
            + 'mailbox = "Ingestd/Rejected"\nafter = "flag"',
            "mailboxes[1].rejected",
            "watched by the mailbox 'other'",
        ),
        (
            MAILBOX.replace('"receipts"', '"a-b"') + MAILBOX.replace('"receipts"', '"a_b"') + 'mailbox = "B"',
            "mailboxes",
            "$INGESTD_A_B_PASSWORD",
        ),
        (oauth(""), "mailboxes[1].oauth.provider", "token_url"),
        (oauth('provider = "google"\ntenant = "t"'), "mailboxes[1].oauth.tenant", "microsoft"),
        (oauth('provider = "yahoo"'), "mailboxes[1].oauth.provider", "'microsoft' or 'google'"),
        (
            oauth('provider = "google"\ngrant = "client_credentials"'),
            "mailboxes[1].oauth.grant",
            "ingestd login",
        ),
        (
            oauth('provider = "microsoft"\ngrant = "client_credentials"'),
            "mailboxes[1].oauth.tenant",
            "needs the tenant",
        ),
        (
            oauth(
                'provider = "microsoft"\ntenant = "t"\ngrant = "client_credentials"\nrefresh_token_file = "r"'
            ),
            "mailboxes[1].oauth.refresh_token_file",
            "remove one",
        ),
        (oauth('token_url = "http://example.com/t"'), "mailboxes[1].oauth.token_url", "https://"),
        (oauth('token_url = "example.com"'), "mailboxes[1].oauth.token_url", "must look like"),
        (oauth('token_url = "https://[::1"'), "mailboxes[1].oauth.token_url", "no URL"),
        (
            oauth('provider = "microsoft"\ndevice_url = "https://a:b@c/d"'),
            "mailboxes[1].oauth.device_url",
            "password",
        ),
        (
            MAILBOX + 'password_file = "p"\n[mailboxes.oauth]\nprovider = "google"\nclient_id = "x"',
            "mailboxes[1].password_file",
            "keep one of them",
        ),
        ('[[people]]\nname = "A"\naddresses = []', "people[1].addresses", "is empty"),
        ('[[people]]\nname = "A"\naddresses = ["a"]', "people[1].addresses", "no address"),
        (TARGETS + ANN + 'delegates = ["a"]', "people[1].delegates", "no address"),
        (TARGETS + ANN + ANN.replace("ann@", "b@"), "people[2].name", "taken"),
        (TARGETS + ANN + ANN.replace('"Ann"', '"B"'), "people[2].addresses", "address of Ann"),
        (TARGETS + ANN.replace("ann@", "ANN@") + ANN.replace('"Ann"', '"B"'), "people[2].addresses", "Ann"),
        (TARGETS + ANN.replace('account = "ann"', 'account = "bo"'), "people[1].account", "accounts.bo"),
        (SMTP + 'security = "none"', "smtp.security", "only to loopback"),
        (SMTP.replace("receipts@", ""), "smtp.sender", "receipts@example.com"),
        (SMTP.replace("receipts@", "a\\nb@"), "smtp.sender", "control character"),
        (SMTP + 'timeout = "0s"', "smtp.timeout", "1s or more"),
        (SMTP + 'password_file = "x"', "smtp.user", "write both"),
        (SMTP + "most_per_hour = 0", "smtp.most_per_hour", "greater than or equal to 1"),
    ],
)
def test_a_mistake_is_named_with_its_key_and_its_fix(text: str, key: str, words: str) -> None:
    (problem,) = problems(text)
    assert problem.startswith(f"x.toml: {key}: "), problem
    assert words in problem


def test_people_may_send_without_an_allow_list() -> None:
    text = TARGETS + MAILBOX.replace('allow = ["*@example.com"]\n', "") + ANN
    assert parse(text).mailboxes[0].allow == ()


def test_where_nothing_is_moved_the_names_do_not_matter() -> None:
    assert mailbox('after = "flag"\nuploaded = "INBOX"').uploaded == "INBOX"


def test_an_assistant_may_be_a_person_too() -> None:
    text = ANN + 'delegates = ["bo@example.com"]\n[[people]]\nname = "Bo"\naddresses = ["bo@example.com"]'
    assert len(parse(TARGETS + text).people) == 2


# --- what is unwise ----------------------------------------------------------------------------------------

TRUSTED = 'trusted_authserv = ["mx.example.com"]\n'
EXCHANGE = MAILBOX.replace("imap.example.com", "Outlook.Office365.com")


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        (MAILBOX, "mailboxes[1].trusted_authserv", "DKIM"),
        (MAILBOX + 'require = "dkim"', "mailboxes[1].trusted_authserv", "DKIM"),
        (MAILBOX + 'require = "none"', "mailboxes[1].require", "anybody can write"),
        (MAILBOX.replace("*@example.com", "*") + 'require = "none"', "mailboxes[1].allow", "anybody in the"),
        (MAILBOX.replace("*@example.com", "*@*") + 'require = "none"', "mailboxes[1].allow", "anybody"),
        (MAILBOX.replace("*@example.com", "*@*.com") + 'require = "none"', "mailboxes[1].allow", "anybody"),
        (MAILBOX.replace("*@example.com", "*") + TRUSTED, "mailboxes[1].allow", "who has a mail domain"),
        (MAILBOX.replace("*@example.com", "*@*.com") + TRUSTED, "mailboxes[1].allow", "who has a mail"),
        (MAILBOX.replace("*@example.com", "*@example.*") + TRUSTED, "mailboxes[1].allow", "can register"),
        (MAILBOX.replace("*@example.com", "*@*example.com") + TRUSTED, "mailboxes[1].allow", "can register"),
        (MAILBOX.replace("*@example.com", "ann@ex*.com") + TRUSTED, "mailboxes[1].allow", "can register"),
        (EXCHANGE + 'trusted_authserv = [""]', "mailboxes[1].exchange_internal", "is not set"),
        (MAILBOX + TRUSTED + SMTP, "smtp", "reply = true"),
        (TARGETS + ANN, "people", "[[mailboxes]]"),
        (
            TARGETS + MAILBOX + TRUSTED + ANN + '[[routes]]\nsend = "other:receipt"',
            "people[1].account",
            "[targets.other.accounts.ann]",
        ),
    ],
)
def test_what_is_unwise_is_a_warning(text: str, key: str, words: str) -> None:
    (warning,) = cautions(parse(text))
    assert warning.startswith(f"{key}: "), warning
    assert words in warning


@pytest.mark.parametrize(
    "text",
    [
        "",
        MAILBOX + TRUSTED,
        MAILBOX.replace("*@example.com", "*@*.example.com") + TRUSTED,
        MAILBOX.replace("*@example.com", "receipts-*@example.com") + TRUSTED,
        EXCHANGE + 'trusted_authserv = [""]\nexchange_internal = true',
        MAILBOX + TRUSTED + "reply = true\n" + SMTP,
        TARGETS + MAILBOX + TRUSTED + ANN + '[[routes]]\nsend = "concur:receipt"',
        TARGETS + MAILBOX + TRUSTED + ANN + '[[routes]]\nsource = "scanner"\nsend = "other:receipt"',
        TARGETS + MAILBOX + TRUSTED + ANN + '[[routes]]\nsend = "concur:receipt"\nas = "ann"',
    ],
)
def test_what_is_wise_is_no_warning(text: str) -> None:
    assert list(cautions(parse(text))) == []


def test_a_pattern_that_anybody_can_match_is_told_beside_a_missing_proof() -> None:
    text = MAILBOX.replace("*@example.com", "*@example.*") + 'require = "none"'
    keys = [warning.partition(": ")[0] for warning in cautions(parse(text))]
    assert keys == ["mailboxes[1].allow", "mailboxes[1].require"]


@pytest.mark.parametrize("require", ["dkim", "none"])
def test_exchange_is_asked_only_where_dmarc_is_required(require: str) -> None:
    (problem,) = problems(MAILBOX + f'require = "{require}"\nexchange_internal = true')
    assert "mailboxes[1].exchange_internal: has no effect" in problem
    assert mailbox("exchange_internal = true").exchange_internal is True
