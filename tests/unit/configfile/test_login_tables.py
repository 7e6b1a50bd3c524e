"""[targets.NAME.oauth] and those of people: what they become, each mistake with its key and its fix."""

import tomllib
from pathlib import Path

import pytest

from ingestd.configfile import parse_configuration
from ingestd.domain.errors import ConfigurationError
from ingestd.settings import ConcurImageV1Settings, ConcurLogin, OAuthSettings, Secret, Settings

US2 = "https://us2.api.concursolutions.com"
COMPANY = "08bcca1e-0d4f-4261-9f1b-f9a8d6f7d2b1"
TARGET = f'[storage]\ndirectory = "/data"\n[targets.concur]\nkind = "concur-image-v1"\nurl = "{US2}/"\n'
OAUTH = TARGET + '[targets.concur.oauth]\nclient_id = "app"\n'
ANN = "[targets.concur.accounts.ann.oauth]\n"


def parse(text: str) -> Settings:
    return parse_configuration(tomllib.loads(text), base=Path("/etc/ingestd"), origin="x.toml")


def target(text: str) -> ConcurImageV1Settings:
    return parse(text).targets["concur"]


def file(name: str) -> Secret:
    return Secret(file=Path("/etc/ingestd") / name)


def test_a_login_by_refresh_token_needs_a_client_only() -> None:
    found = target(OAUTH)
    assert found.token is None
    assert found.oauth == OAuthSettings(
        grant="refresh_token",
        token_url=f"{US2}/oauth2/v0/token",
        authorize_url=f"{US2}/oauth2/v0/authorize",
        client_id="app",
        client_secret=Secret(environment="INGESTD_CONCUR_CLIENT_SECRET"),
        store=Path("/data/tokens/target.concur.json"),
        concur=ConcurLogin(api_url=US2, command="ingestd login concur"),
    )


def test_a_company_has_its_own_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    own = f'grant = "company"\ncompany_uuid = "{COMPANY}"\nrequest_token_file = "request"\nscope = "IMAGE"\n'
    found = target(OAUTH + own + 'allowed_hosts = ["concur.example.com"]').oauth
    assert found is not None and found.concur is not None
    assert (found.grant, found.scope, found.authorize_url) == ("company", "IMAGE", None)
    assert (found.concur.company, found.concur.request_token) == (COMPANY, file("request"))
    assert found.concur.allowed_hosts == ("concur.example.com",)
    asked = target(OAUTH + 'grant = "company"').oauth
    assert asked is not None and asked.concur is not None and asked.concur.request_token is None
    monkeypatch.setenv("INGESTD_CONCUR_REQUEST_TOKEN", "x")
    given = target(OAUTH + 'grant = "company"').oauth
    assert given is not None and given.concur is not None
    assert given.concur.request_token == Secret(environment="INGESTD_CONCUR_REQUEST_TOKEN")


def test_a_person_takes_over_the_client_and_its_addresses() -> None:
    shared = 'client_secret_file = "secret"\nscope = "IMAGE"\nredirect_url = "https://example.com/back"\n'
    text = (
        OAUTH + shared + ANN + 'refresh_token_file = "ann"\n[targets.concur.accounts.ben]\ntoken_file = "ben"'
    )
    found = target(text)
    ann = found.accounts["ann"]
    assert isinstance(ann, OAuthSettings) and ann.concur is not None
    assert (ann.client_id, ann.client_secret, ann.scope) == ("app", file("secret"), "IMAGE")
    assert (ann.refresh_token, ann.store) == (file("ann"), Path("/data/tokens/target.concur.ann.json"))
    assert ann.concur.command == "ingestd login concur --account ann"
    assert ann.concur.redirect_url == "https://example.com/back"
    assert found.accounts["ben"] == file("ben")


def test_a_person_of_a_company_logs_in_with_a_browser() -> None:
    company = f'grant = "company"\ncompany_uuid = "{COMPANY}"\n'
    ann = target(OAUTH + company + ANN).accounts["ann"]
    assert isinstance(ann, OAuthSettings) and ann.concur is not None
    assert (ann.grant, ann.authorize_url) == ("refresh_token", f"{US2}/oauth2/v0/authorize")
    assert ann.concur.company is None


def test_another_client_has_another_secret() -> None:
    ann = target(OAUTH + 'client_secret_file = "secret"\n' + ANN + 'client_id = "other"').accounts["ann"]
    assert isinstance(ann, OAuthSettings)
    assert ann.client_secret == Secret(environment="INGESTD_CONCUR_ANN_CLIENT_SECRET")
    alone = target(TARGET + ANN + 'client_id = "other"')
    assert alone.token == Secret(environment="INGESTD_CONCUR_TOKEN")
    assert isinstance(alone.accounts["ann"], OAuthSettings)


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        (TARGET + 'token_file = "t"\n[targets.concur.oauth]\nclient_id = "a"', ".token_file", "keep one"),
        (
            TARGET + '[targets.concur.accounts.ann]\ntoken_file = "t"\n' + ANN + 'client_id = "a"',
            ".accounts.ann.token_file",
            "keep one",
        ),
        (TARGET + "[targets.concur.oauth]", ".oauth.client_id", "is missing"),
        (TARGET + ANN, ".accounts.ann.oauth.client_id", "is missing"),
        (OAUTH + 'grant = "password"', ".oauth.grant", "'client_credentials' or 'company'"),
        (OAUTH + 'secret = "s"', ".oauth.secret", "client_secret_file"),
        (OAUTH + f'company_uuid = "{COMPANY}"', ".oauth.company_uuid", 'grant = "company"'),
        (OAUTH + 'request_token_file = "r"', ".oauth.request_token_file", 'grant = "company"'),
        (OAUTH + 'grant = "company"\nrefresh_token_file = "r"', ".oauth.refresh_token_file", "refresh_token"),
        (OAUTH + 'grant = "company"\nauthorize_url = "https://a/b"', ".oauth.authorize_url", "remove it"),
        (OAUTH + 'grant = "client_credentials"\nredirect_url = "https://a/b"', ".oauth.redirect_url", "it"),
        (OAUTH + 'grant = "company"\nrequest_token_file = "r"', ".oauth.company_uuid", "is missing"),
        (OAUTH + 'grant = "company"\ncompany_uuid = "me"', ".oauth.company_uuid", "must be a UUID"),
        (OAUTH + 'token_url = "http://login.example.com/t"', ".oauth.token_url", "https://"),
        (OAUTH + 'token_url = "login.example.com"', ".oauth.token_url", "must look like"),
        (OAUTH + 'authorize_url = "https://a:b@c/d"', ".oauth.authorize_url", "password"),
        (OAUTH + 'redirect_url = "http://example.com/x"', ".oauth.redirect_url", "https://"),
        (OAUTH + 'allowed_hosts = ["*.example.com"]', ".oauth.allowed_hosts[1]", "a host or a domain"),
        (OAUTH + 'allowed_hosts = ["com"]', ".oauth.allowed_hosts[1]", "a host or a domain"),
        (OAUTH + 'allowed_hosts = [".example.com"]', ".oauth.allowed_hosts[1]", "a host or a domain"),
        (OAUTH + 'allowed_hosts = ["https://example.com"]', ".oauth.allowed_hosts[1]", "host"),
        (OAUTH.replace("[targets.concur.oauth]", 'authorization = "OAuth"\n[targets.concur.oauth]'),
         ".authorization", "legacy tokens"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_key_and_its_fix(text: str, key: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(text)
    (problem,) = caught.value.problems
    assert problem.startswith(f"x.toml: targets.concur{key}: "), problem
    assert words in problem


def test_two_secrets_can_not_come_from_one_variable() -> None:
    names = OAUTH.replace("concur]", "a-b]").replace("concur.", "a-b.") + "\n"
    other = "".join(names.splitlines(keepends=True)[2:]).replace("a-b", "a_b")
    with pytest.raises(ConfigurationError, match=r"\$INGESTD_A_B_CLIENT_SECRET; write a file for each"):
        parse(names + other)
