"""[alerts] and [metrics]: what is taken for granted, and every mistake with its key and its fix."""

import tomllib
from pathlib import Path

import pytest

from ingestd.configfile import cautions, parse_configuration
from ingestd.configfile.alert_tables import webhook_problem
from ingestd.domain.errors import ConfigurationError
from ingestd.settings import AlertSettings, MetricsSettings, Secret, Settings

SMTP = '[smtp]\nhost = "smtp.example.com"\nsender = "r@example.com"\n'
WEBHOOK = '[alerts]\nwebhook = "https://hooks.example.com/T0/sesame"\n'
MAIL = SMTP + '[alerts]\nmail = ["it@example.com"]\n'
MAILBOX = """
[[mailboxes]]
name = "receipts"
host = "imap.example.com"
user = "Receipts@example.com"
addresses = ["it@example.com"]
allow = ["*@example.com"]
"""


def parse(text: str) -> Settings:
    return parse_configuration(tomllib.loads(text), base=Path("/etc/ingestd"), origin="x.toml")


def test_without_the_tables_nobody_is_told_and_nothing_is_served() -> None:
    settings = parse("")
    assert settings.alerts is None and settings.metrics is None


def test_a_table_with_an_address_is_enough() -> None:
    assert parse(MAIL).alerts == AlertSettings(mail=("it@example.com",))
    assert parse("[metrics]").metrics == MetricsSettings()


def test_a_disk_is_low_well_before_intake_stops() -> None:
    alerts = parse(f'[storage]\nmin_free = "3GB"\n{MAIL}').alerts
    assert alerts is not None and alerts.low_disk == 6_000_000_000
    alerts = parse(f'[storage]\nmin_free = "3GB"\n{MAIL}low_disk = "4GB"').alerts
    assert alerts is not None and alerts.low_disk == 4_000_000_000


def test_a_webhook_is_a_secret_of_a_file_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    alerts = parse('[alerts]\nwebhook_file = "hook"').alerts
    assert alerts is not None and alerts.webhook_secret == Secret(file=Path("/etc/ingestd/hook"))
    monkeypatch.setenv("INGESTD_ALERTS_WEBHOOK", "https://hooks.example.com/x")
    alerts = parse("[alerts]").alerts
    assert alerts is not None and alerts.webhook_secret == Secret(environment="INGESTD_ALERTS_WEBHOOK")


def test_a_webhook_is_in_no_text_about_the_settings() -> None:
    assert "sesame" not in repr(parse(WEBHOOK))


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ("[alerts]", "alerts", "nobody is told"),
        ('[alerts]\nmail = ["it@example.com"]', "alerts.mail", "add an [smtp] table"),
        (SMTP + '[alerts]\nmail = ["it at example"]', "alerts.mail[1]", "it@example.com"),
        (MAIL + MAILBOX, "alerts.mail[1]", "is a watched mailbox"),
        ('[alerts]\nwebhook = "hooks.example.com"', "alerts.webhook", "https://"),
        ('[alerts]\nwebhook = "http://hooks.example.com/x"', "alerts.webhook", "http only to loopback"),
        ('[alerts]\nwebhook = "https://me:pw@hooks.example.com/x"', "alerts.webhook", "password"),
        (WEBHOOK + 'every = "10ms"', "alerts.every", "1s or more"),
        (WEBHOOK + 'after = "2h"', "alerts.after", "shorter"),
        (WEBHOOK + "most_per_day = 0", "alerts.most_per_day", "1"),
        (WEBHOOK + "mails = []", "alerts.mails", "no such key here; the keys are: mail,"),
        ('[metrics]\nlisten = "9464"', "metrics.listen", "127.0.0.1:9464"),
        ('[metrics]\nlisten = "127.0.0.1:99999"', "metrics.listen", "127.0.0.1:9464"),
        ('[metrics]\nlisten = "::1:9464"', "metrics.listen", "[::1]:9464"),
        ('[metrics]\nlisten = "0.0.0.0:9464"', "metrics.listen", "open = true"),
    ],
)
def test_a_mistake_is_named_with_its_key_and_its_fix(text: str, key: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(text)
    (problem,) = caught.value.problems
    assert problem.startswith(f"x.toml: {key}: ") and words in problem
    assert "sesame" not in problem


def test_metrics_are_open_only_when_that_is_meant() -> None:
    metrics = parse('[metrics]\nlisten = "0.0.0.0:9464"\nopen = true').metrics
    assert metrics == MetricsSettings(host="0.0.0.0", open=True)
    assert parse('[metrics]\nlisten = "[::1]:80"').metrics == MetricsSettings(host="::1", port=80)


def test_alerts_use_the_mail_server_and_a_late_one_is_pointed_out() -> None:
    assert not list(cautions(parse(MAIL)))
    (unused,) = cautions(parse(SMTP + WEBHOOK))
    assert unused.startswith("smtp: ")
    (late,) = cautions(parse(WEBHOOK + 'low_disk = "1MB"'))
    assert late.startswith("alerts.low_disk: is less than storage.min_free")


@pytest.mark.parametrize(
    "url", ["https://[", "https://h:x/", "https://h/#x", "https:///x", "https://hö/x", ""]
)
def test_what_is_no_url_never_raises(url: str) -> None:
    assert webhook_problem(url) is not None
