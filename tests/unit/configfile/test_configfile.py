"""The configuration file: every mistake is named with its key and its fix, all of them at once."""

import re
import tomllib
from datetime import timedelta
from pathlib import Path

import pytest

from ingestd.configfile import cautions, find_configuration, load_configuration, parse_configuration
from ingestd.configfile.values import parse_duration
from ingestd.domain.errors import ConfigurationError
from ingestd.domain.retry import RetryPolicy
from ingestd.domain.routing import Pages
from ingestd.settings import (
    AlertSettings,
    FolderSettings,
    LogSettings,
    MailboxSettings,
    MetricsSettings,
    PreparationSettings,
    Secret,
    Settings,
    SmtpSettings,
    StorageSettings,
    UploadSettings,
)

ROOT = Path(__file__).parents[3]
REFERENCE = ROOT / "config/ingestd.toml"

TARGET = """
[targets.concur]
kind = "concur-image-v1"
url = "https://us2.api.concursolutions.com"
"""


def parse(text: str) -> Settings:
    return parse_configuration(tomllib.loads(text), base=Path("/etc/ingestd"), origin="x.toml")


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        parse(text)
    return list(caught.value.problems)


# --- the files that come with ingestd ----------------------------------------------------------------------


def uncommented(text: str) -> str:
    """The reference with every commented-out key switched on."""
    return re.sub(r"^# (\w+ = )", r"\1", examples_switched_on(text), flags=re.MULTILINE)


def examples_switched_on(text: str) -> str:
    """The reference with the tables that are commented out as a whole."""
    return re.sub(r"^#(?=[\w\[])", "", text, flags=re.MULTILINE)


def test_the_reference_loads_as_it_stands() -> None:
    settings = load_configuration(REFERENCE)
    assert settings.storage.directory == Path("/var/lib/ingestd")
    assert len(settings.routes) == 6
    assert not settings.mailboxes and not settings.people and settings.smtp is None


WITHOUT_DEFAULT = (
    "ledger", "passwords_file", "ca_file", "templates", "client_secret_file", "refresh_token_file",
    "token_url", "device_url", "authorize_url", "redirect_url", "scope", "webhook", "webhook_file",
)  # fmt: skip
"""Keys whose line in the reference is an example; the text above it says what holds without them."""


def test_the_reference_shows_the_true_defaults() -> None:
    text = uncommented(REFERENCE.read_text()).replace('max_size = "50GB"', "", 1)
    text = re.sub(rf"^({'|'.join(WITHOUT_DEFAULT)}) = .*$", "", text, flags=re.MULTILINE)
    settings = parse(text)
    directory = settings.storage.directory
    assert settings.storage == StorageSettings(directory=directory)
    assert settings.uploads == UploadSettings()
    assert settings.preparation == PreparationSettings()
    assert settings.log == LogSettings()
    (folder,) = settings.folders
    assert folder == FolderSettings(name=folder.name, path=folder.path)
    target = settings.targets["concur"]
    assert target.rules.retry == RetryPolicy()
    assert (target.authorization, target.rules.on_unconfirmed, target.timeout, target.max_bytes) == (
        "Bearer", "hold", timedelta(seconds=60), 10_000_000,
    )  # fmt: skip
    assert target.max_pages == 200
    mailbox, office = settings.mailboxes
    written = {name: getattr(mailbox, name) for name in (
        "name", "host", "user", "password", "allow", "trusted_authserv", "reply")}  # fmt: skip
    assert mailbox == MailboxSettings(**written)
    assert office.oauth is not None
    assert (office.oauth.grant, office.oauth.client_secret, office.oauth.refresh_token) == (
        "refresh_token", None, None,
    )  # fmt: skip
    smtp = settings.smtp
    assert smtp is not None
    assert smtp == SmtpSettings(
        host=smtp.host, port=465, security="tls", sender=smtp.sender, user=smtp.user, password=smtp.password
    )
    assert settings.alerts == AlertSettings(mail=("it@example.com",))
    assert settings.metrics == MetricsSettings()


def test_the_examples_of_the_reference_work_when_they_are_switched_on() -> None:
    settings = parse(examples_switched_on(REFERENCE.read_text()))
    mailbox, office = settings.mailboxes
    assert (mailbox.name, mailbox.reply, mailbox.password) == (
        "receipts", True, Secret(file=Path("/etc/ingestd/imap-password")),
    )  # fmt: skip
    assert office.oauth is not None and office.password is None
    assert office.oauth.store == Path("/var/lib/ingestd/tokens/office.json")
    (ann,) = settings.people
    assert (ann.account, ann.delegates) == ("ann", ("assistant@example.com",))
    assert settings.smtp is not None and settings.smtp.port == 465
    assert not list(cautions(settings))


IN_WORDS = {"source", "path", "filename", "from_", "address", "subject", "as_"}
"""Fields of a route: patterns are told in a sentence; `as` is no name in Python."""


def test_the_reference_names_every_key() -> None:
    from ingestd.configfile import alert_tables, login_tables, mail_tables, tables

    text = uncommented(REFERENCE.read_text())
    named = set(re.findall(r"^(\w+) = ", text, flags=re.MULTILINE))
    for table in (tables._Storage, tables._Uploads, tables._Preparation, tables._Log, tables._Retry,
                  tables._Gate, tables._Target, tables._Folder, tables._Route, mail_tables.Mailbox,
                  mail_tables.OAuth, login_tables.TargetOAuth, mail_tables.People, mail_tables.Smtp,
                  alert_tables.Alerts, alert_tables.Metrics):  # fmt: skip
        keys = set(table.model_fields) - {"retry", "gate", "accounts", "oauth", *IN_WORDS}
        assert keys <= named, table


def test_the_first_configuration_is_complete_and_travels_in_the_package() -> None:
    settings = load_configuration(ROOT / "config/sandbox.toml")
    assert settings.targets and settings.folders and settings.routes
    assert (ROOT / "ingestd/cli/sandbox.toml").read_bytes() == (ROOT / "config/sandbox.toml").read_bytes()


# --- mistakes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ('[storage]\ndirectry = "x"', "storage.directry", "the keys are: directory, ledger"),
        ('[[folders]]\nname = "a"\npath = "/a"\nsetle = "1s"', "folders[1].setle", "settle_incomplete"),
        (TARGET + "verified = true", "targets.concur.verified", "on_unconfirmed"),
        (TARGET + '[targets.concur.gate]\nrate = "0/1m"', "targets.concur.gate.rate", "120/5m"),
        (TARGET + "[targets.concur.retry]\ntries = 1", "targets.concur.retry.tries", "attempts"),
        (TARGET + '[targets.concur.retry]\nfirst = "0s"', "targets.concur.retry.first", "100ms"),
        (TARGET + 'timeout = "0s"', "targets.concur.timeout", "1s or more"),
        (TARGET + 'token_file = "a\\u0000b"', "targets.concur.token_file", "no path"),
        ('[storage]\nkeep = "99999999999999d"', "storage.keep", "ten years"),
        ('[storage]\nmin_free = "10 apples"', "storage.min_free", '"10MB"'),
        ('[storage]\nkeep = "forever"', "storage.keep", '"2s"'),
        ('[storage]\nledger = "mysql://x"', "storage.ledger", "postgresql://"),
        ("[uploads]\nworkers = 0", "uploads.workers", "greater than or equal to 1"),
        ('[uploads]\nworkers = "8"', "uploads.workers", "valid integer"),
        ('[preparation]\ninspect = "maybe"', "preparation.inspect", "'light' or 'full'"),
        ('[preparation]\nmemory = "1MB"', "preparation.memory", "768MB or more"),
        ('[preparation]\ncpu = "500ms"', "preparation.cpu", "1s or more"),
        ('[preparation]\nwall = "0s"', "preparation.wall", "1s or more"),
        (
            '[preparation]\nnear_duplicates = "maybe"',
            "preparation.near_duplicates",
            "'off', 'warn' or 'hold'",
        ),
        (
            '[preparation]\nnear_duplicate_window = "0s"',
            "preparation.near_duplicate_window",
            'near_duplicates = "off"',
        ),
        (
            '[storage]\nkeep = "30d"\n[preparation]\nnear_duplicate_window = "90d"',
            "preparation.near_duplicate_window",
            "a longer storage.keep",
        ),
        (
            '[storage]\nkeep = "30d"\n[preparation]\nnear_duplicate_window = "31d"',
            "preparation.near_duplicate_window",
            "a longer storage.keep",
        ),
        (
            '[preparation]\nnear_duplicates = "hold"\ninspect = "light"',
            "preparation.near_duplicates",
            'inspect = "full"',
        ),
        ('[preparation]\npasswords_file = ""', "preparation.passwords_file", "no path"),
        ('[[folders]]\nname = "a"\npath = "/a"\ngroup_quiet = "1"', "folders[1].group_quiet", '"2s"'),
        (TARGET + "max_pages = 0", "targets.concur.max_pages", "greater than or equal to 1"),
        (
            TARGET + '[[routes]]\nsend = "concur:receipt"\npages = "one"',
            "routes[1].pages",
            "'merge' or 'separate'",
        ),
        ('[targets.x]\nkind = "fax"\nurl = "https://x"', "targets.x.kind", "concur-image-v1"),
        ('[targets.x]\nkind = "concur-image-v1"', "targets.x.url", "missing"),
        ('[targets.x]\nkind = "concur-image-v1"\nurl = "http://example.com"', "targets.x.url", "https://"),
        ('[targets.x]\nkind = "concur-image-v1"\nurl = "us2.api"', "targets.x.url", "must look like"),
        ('[targets.x]\nkind = "concur-image-v1"\nurl = "https://a:b@c"', "targets.x.url", "password"),
        ('[targets."a b"]\nkind = "concur-image-v1"\nurl = "https://x"', "targets.a b", "letters, digits"),
        ('[[folders]]\nname = "a"', "folders[1].path", "missing"),
        ('[[folders]]\nname = "a"\npath = "/a"\npolling = "maybe"', "folders[1].polling", '"auto"'),
        ('[[folders]]\nname = "submit"\npath = "/a"', "folders[1].name", "taken"),
        ("[[routes]]", "routes[1].send", "missing"),
        ('[[routes]]\nsend = "concur"', "routes[1].send", "TARGET:SLOT"),
        ('[[routes]]\nsend = "nobody:receipt"', "routes[1].send", "[targets.nobody]"),
        (TARGET + '[[routes]]\nsend = "concur:reciept"', "routes[1].send", "the slots are: receipt"),
        (TARGET + '[[routes]]\nsend = "concur:report"', "routes[1].send", "needs an ID"),
        (TARGET + '[[routes]]\nsend = "concur:receipt/1"', "routes[1].send", "takes no ID"),
        (TARGET + '[[routes]]\nsend = "concur:report/{id}"', "routes[1].send", "nothing catches {id}"),
        (TARGET + '[[routes]]\npath = "{ID}"\nsend = "concur:receipt"', "routes[1].path", "lower_case"),
        (TARGET + '[[routes]]\nsend = "concur:receipt"\nas = "ann"', "routes[1].as", "accounts.ann"),
        (TARGET + '[targets.concur.retry]\nfirst = "1h"', "targets.concur.retry.first", "ceiling"),
    ],
)
def test_a_mistake_is_named_with_its_key_and_its_fix(text: str, key: str, words: str) -> None:
    (problem,) = problems(text)
    assert problem.startswith(f"x.toml: {key}: ")
    assert words in problem


def test_all_mistakes_are_shown_at_once() -> None:
    assert len(problems('[storage]\nkeep = "x"\nfoo = 1\n[uploads]\nworkers = -1\n[nonsense]')) == 4


def test_folders_that_overlap_are_refused() -> None:
    text = '[[folders]]\nname = "a"\npath = "/srv/a"\n[[folders]]\nname = "b"\npath = "/srv/a/b"'
    (problem,) = problems(text)
    assert "/srv/a/b and folder 'a' overlap" in problem


def test_a_folder_around_the_storage_is_refused() -> None:
    text = '[storage]\ndirectory = "/srv/a/data"\n[[folders]]\nname = "a"\npath = "/srv/a"'
    (problem,) = problems(text)
    assert "keep them apart" in problem


def test_a_file_that_is_missing_or_no_toml_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no such file"):
        load_configuration(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("[storage\n")
    with pytest.raises(ConfigurationError, match="not valid TOML"):
        load_configuration(tmp_path / "bad.toml")


# --- where things are looked for ---------------------------------------------------------------------------


def test_the_configuration_is_looked_for_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("INGESTD_CONFIG", raising=False)
    with pytest.raises(ConfigurationError, match="--config"):
        find_configuration(None)
    (tmp_path / "ingestd.toml").touch()
    assert find_configuration(None) == Path("ingestd.toml")
    monkeypatch.setenv("INGESTD_CONFIG", "/somewhere.toml")
    assert find_configuration(None) == Path("/somewhere.toml")
    assert find_configuration(Path("given.toml")) == Path("given.toml")


def test_a_bare_token_name_is_a_credential_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = TARGET + 'token_file = "concur-token"'
    assert parse(text).targets["concur"].token == Secret(file=Path("/etc/ingestd/concur-token"))
    (tmp_path / "concur-token").touch()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert parse(text).targets["concur"].token == Secret(file=tmp_path / "concur-token")


def test_files_of_passwords_are_looked_for_like_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        TARGET + '[preparation]\npasswords_file = "all"\n'
        '[[routes]]\nsend = "concur:receipt"\npasswords_file = "ann/pdf"'
    )
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    settings = parse(text)
    assert settings.preparation.passwords_file == Path("/etc/ingestd/all")
    assert settings.routes[0].passwords_file == Path("/etc/ingestd/ann/pdf")
    (tmp_path / "all").touch()
    assert parse(text).preparation.passwords_file == tmp_path / "all"


def test_what_becomes_of_several_pages_is_for_the_target_to_say_unless_the_route_does() -> None:
    for text, pages in (("", None), ('pages = "merge"', Pages.MERGE), ('pages = "separate"', Pages.SEPARATE)):
        settings = parse(f'{TARGET}[[routes]]\nsend = "concur:receipt"\n{text}')
        assert settings.routes[0].pages is pages


def test_preparation_and_folders_and_limits_are_as_written() -> None:
    settings = parse(
        TARGET + "max_pages = 7\n"
        '[preparation]\nstrip_location = false\nnear_duplicates = "hold"\nnear_duplicate_window = "7d"\n'
        '[[folders]]\nname = "a"\npath = "/a"\ngroup_quiet = "30s"'
    )
    preparation = settings.preparation
    assert (preparation.strip_location, preparation.near_duplicates) == (False, "hold")
    assert preparation.near_duplicate_window == timedelta(days=7)
    assert settings.folders[0].group_quiet == timedelta(seconds=30)
    assert settings.targets["concur"].max_pages == 7


def test_without_a_token_file_the_environment_is_asked() -> None:
    settings = parse(TARGET + "[targets.concur.accounts.ann-b]")
    assert settings.targets["concur"].token == Secret(environment="INGESTD_CONCUR_TOKEN")
    assert settings.targets["concur"].accounts["ann-b"] == Secret(environment="INGESTD_CONCUR_ANN_B_TOKEN")


def test_the_state_directory_of_the_service_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/ingestd")
    assert parse("").storage.directory == Path("/var/lib/ingestd")


def test_sizes_and_durations_have_units() -> None:
    settings = parse('[storage]\nmin_free = "1.5GiB"\nmax_size = 1000\nkeep = "36h"')
    assert settings.storage.min_free == 1_610_612_736
    assert settings.storage.max_size == 1000
    assert settings.storage.keep == timedelta(hours=36)


@pytest.mark.parametrize(
    "text",
    [
        '[storage]\nkeep = "30d"\n[preparation]\nnear_duplicate_window = "30d"',
        '[storage]\nkeep = "1d"\n[preparation]\nnear_duplicate_window = "31d"\nnear_duplicates = "off"',
        '[storage]\nkeep = "1d"\n[preparation]\nnear_duplicate_window = "31d"\ninspect = "light"',
    ],
)
def test_a_window_nobody_uses_may_be_longer_than_originals_are_kept(text: str) -> None:
    parse(text)


@pytest.mark.parametrize(("keep", "window"), [("30d", "30d"), ("90d", "90d"), ("365d", "90d"), ("0s", "0s")])
def test_without_a_word_look_alikes_are_looked_for_as_long_as_they_are_kept(keep: str, window: str) -> None:
    found = parse(f'[storage]\nkeep = "{keep}"').preparation.near_duplicate_window
    assert found == parse_duration(window)


@pytest.mark.parametrize(("written", "megabytes"), [("256MB", 768), ("512MB", 768), ("900MB", 900)])
def test_a_memory_that_was_enough_once_still_starts(written: str, megabytes: int) -> None:
    assert parse(f'[preparation]\nmemory = "{written}"').preparation.memory == megabytes * 1_000_000


def test_a_memory_that_never_was_enough_is_refused() -> None:
    assert "768MB or more" in problems('[preparation]\nmemory = "255MB"')[0]
