"""Access tokens: fetched once for many, never lost to a crash, never in a text."""

import asyncio
import json
import os
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from ingestd.http import oauth_endpoint
from ingestd.http.oauth import OAuthRefused, OAuthTokens, OAuthUnavailable
from ingestd.http.oauth_endpoint import Granted
from ingestd.http.oauth_store import TokenStore
from ingestd.http.tokens import SecretUnavailable
from ingestd.settings import OAuthSettings, Secret
from tests.mail.oauth_server import CLIENT, CLIENT_SECRET, OAuthServer, oauth_server, secret_in

ROOT = Path(__file__).parents[3]


@pytest.fixture
async def server() -> AsyncIterator[OAuthServer]:
    async with oauth_server() as server:
        yield server


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "data" / "tokens" / "receipts.json"


@pytest.fixture
def settings(server: OAuthServer, store: Path, tmp_path: Path) -> OAuthSettings:
    """A client with a refresh token that was got elsewhere."""
    return server.settings(store, refresh_token=secret_in(tmp_path / "seed", server.login()))


def tokens(settings: OAuthSettings) -> OAuthTokens:
    return OAuthTokens(settings, name="receipts")


def kept(store: Path) -> str:
    return str(json.loads(store.read_text())["refresh_token"])


# --- fetched when needed -----------------------------------------------------------------------------------


async def test_a_token_is_kept_until_a_minute_before_its_end(
    server: OAuthServer, settings: OAuthSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tokens(settings)
    now = 1000.0
    monkeypatch.setattr("ingestd.http.oauth.time.monotonic", lambda: now)
    first = await source.access_token()
    now += 3600 - 61
    assert await source.access_token() == first
    now += 2
    assert await source.access_token() != first
    assert len(server.forms) == 2


async def test_a_token_that_lives_shortly_is_used_for_half_its_life(
    server: OAuthServer, settings: OAuthSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.lifetime = "60"
    now = 1000.0
    monkeypatch.setattr("ingestd.http.oauth.time.monotonic", lambda: now)
    source = tokens(settings)
    first = await source.access_token()
    now += 29
    assert await source.access_token() == first
    now += 2
    assert await source.access_token() != first


async def test_many_callers_cause_one_refresh(server: OAuthServer, settings: OAuthSettings) -> None:
    server.latency_seconds = 0.2
    source = tokens(settings)
    found = await asyncio.gather(*(source.access_token() for _ in range(50)))
    assert len(set(found)) == 1
    assert len(server.forms) == 1


async def test_a_refused_token_is_fetched_anew_and_an_old_one_is_nothing_to_forget(
    server: OAuthServer, settings: OAuthSettings
) -> None:
    source = tokens(settings)
    first = await source.access_token()
    source.invalidate(first)
    second = await source.access_token()
    assert second != first
    source.invalidate(first)
    assert await source.access_token() == second


async def test_client_credentials_need_no_store(server: OAuthServer, store: Path, tmp_path: Path) -> None:
    secret = secret_in(tmp_path / "secret", CLIENT_SECRET)
    source = tokens(server.settings(store, grant="client_credentials", client_secret=secret))
    assert source.check() is None
    assert (await source.access_token()).startswith("access-")
    assert server.forms == [
        {
            "grant_type": "client_credentials",
            "scope": "mail offline_access",
            "client_id": CLIENT,
            "client_secret": CLIENT_SECRET,
        }
    ]
    assert not store.exists()


# --- never lost --------------------------------------------------------------------------------------------


async def test_a_rotated_refresh_token_is_on_the_disk_before_the_access_token_is_given_out(
    server: OAuthServer, settings: OAuthSettings, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real_fsync = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        real_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    source = tokens(settings)
    await source.access_token()
    assert synced == ["file", "directory"]
    assert {kept(store)} == server.refresh_tokens
    assert stat.S_IMODE(store.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.parent.stat().st_mode) == 0o700
    assert sorted(p.name for p in store.parent.iterdir()) == ["receipts.json", "receipts.json.lock"]


async def test_the_rotated_token_wins_over_the_configured_one_after_a_restart(
    server: OAuthServer, settings: OAuthSettings
) -> None:
    await tokens(settings).access_token()
    await tokens(settings).access_token()
    assert len({form["refresh_token"] for form in server.forms}) == 2
    assert len(server.spent) == 2


async def test_the_configured_token_may_be_removed_once_it_was_used(
    server: OAuthServer, settings: OAuthSettings
) -> None:
    await tokens(settings).access_token()
    assert settings.refresh_token is not None and settings.refresh_token.file is not None
    settings.refresh_token.file.unlink()
    await tokens(settings).access_token()
    assert tokens(settings).check() is None


async def test_a_new_configured_token_replaces_the_login_that_is_kept(
    server: OAuthServer, settings: OAuthSettings, tmp_path: Path
) -> None:
    await tokens(settings).access_token()
    server.refresh_tokens.clear()
    with pytest.raises(OAuthRefused, match="ingestd login"):
        await tokens(settings).access_token()
    secret_in(tmp_path / "seed", server.login())
    assert await tokens(settings).access_token()


async def test_a_caller_that_gives_up_does_not_lose_the_login(
    server: OAuthServer, settings: OAuthSettings, store: Path
) -> None:
    server.latency_seconds = 0.2
    source = tokens(settings)
    caller = asyncio.create_task(source.access_token())
    await server.asked.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await source.aclose()
    assert {kept(store)} == server.refresh_tokens


async def test_a_full_disk_is_met_before_the_refresh_token_is_spent(
    server: OAuthServer, settings: OAuthSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, offset: int, length: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OAuthUnavailable, match="No space left"):
        await tokens(settings).access_token()
    assert server.forms == []


async def test_a_token_that_could_not_be_saved_is_used_and_saved_the_next_time(
    server: OAuthServer, settings: OAuthSettings, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tokens(settings)
    await source.access_token()
    real_rename = os.rename

    def broken(*places: object, **more: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "rename", broken)
    source.invalidate(await source.access_token())
    with pytest.raises(OAuthUnavailable, match="can't be kept"):
        await source.access_token()
    monkeypatch.setattr(os, "rename", real_rename)
    assert await source.access_token()
    assert {kept(store)} == server.refresh_tokens


async def test_two_processes_share_one_login(
    server: OAuthServer, settings: OAuthSettings, store: Path
) -> None:
    """The server ends the login when a refresh token comes twice."""
    server.latency_seconds = 0.05
    program = f"""
import asyncio, sys
from pathlib import Path
from ingestd.http.oauth import OAuthTokens
from ingestd.settings import OAuthSettings, Secret
settings = OAuthSettings(
    grant="refresh_token", token_url={settings.token_url!r}, client_id={CLIENT!r},
    refresh_token=Secret(file=Path({str(settings.refresh_token.file if settings.refresh_token else "")!r})),
    store=Path({str(store)!r}),
)
async def main():
    tokens = OAuthTokens(settings, name="x")
    for _ in range(10):
        tokens.invalidate(await tokens.access_token())
asyncio.run(main())
"""
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", program, cwd=ROOT, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    for process in processes:
        _, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
    assert len(server.spent) == 20
    assert {kept(store)} == server.refresh_tokens


async def test_a_killed_process_leaves_nothing_behind_for_good(
    server: OAuthServer, settings: OAuthSettings, store: Path
) -> None:
    store.parent.mkdir(parents=True)
    (store.parent / ".receipts.json.0123").write_text("half")
    (store.parent / ".other.json.0123").write_text("somebody else's")
    await tokens(settings).access_token()
    names = {path.name for path in store.parent.iterdir()}
    assert names == {"receipts.json", "receipts.json.lock", ".other.json.0123"}


# --- a store that can't be trusted -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b'{"version": 1}', b"\xff", b"[" * 100_000,
        b'{"version": 1, "refresh_token": 1, "client_id": "a", "token_url": "b", "seed": null}',
        b'{"version": 2, "refresh_token": "r", "client_id": "a", "token_url": "b", "seed": null}',
    ],
)  # fmt: skip
async def test_a_damaged_store_is_said_so_and_a_configured_token_heals_it(
    server: OAuthServer, settings: OAuthSettings, store: Path, content: bytes
) -> None:
    store.parent.mkdir(parents=True)
    store.write_bytes(content)
    alone = server.settings(store)
    assert "is damaged" in str(tokens(alone).check())
    with pytest.raises(OAuthUnavailable, match="is damaged; log in again"):
        await tokens(alone).access_token()
    assert server.forms == []
    assert await tokens(settings).access_token()
    assert {kept(store)} == server.refresh_tokens


async def test_a_store_of_another_user_is_not_read(
    server: OAuthServer, settings: OAuthSettings, store: Path
) -> None:
    await tokens(settings).access_token()
    os.chown(store, 65534, 65534)
    with pytest.raises(OAuthUnavailable, match="belongs to user 65534"):
        await tokens(settings).access_token()
    assert len(server.forms) == 1


@pytest.mark.parametrize("what", ["link", "directory", "fifo"])
async def test_what_is_no_file_is_not_read(
    server: OAuthServer, store: Path, tmp_path: Path, what: str
) -> None:
    store.parent.mkdir(parents=True)
    match what:
        case "link":
            store.symlink_to(tmp_path / "elsewhere")
        case "directory":
            store.mkdir()
        case _:
            os.mkfifo(store)
    with pytest.raises(OAuthUnavailable, match=str(store)):
        await tokens(server.settings(store)).access_token()


async def test_root_writes_for_the_owner_of_the_storage_directory(
    server: OAuthServer, settings: OAuthSettings, store: Path
) -> None:
    store.parents[1].mkdir()
    os.chown(store.parents[1], 65534, 65533)
    await tokens(settings).access_token()
    for path in (store.parent, store, store.with_name("receipts.json.lock")):
        assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65533), path
    assert await tokens(settings).access_token()


async def test_root_follows_no_link_in_place_of_the_directory(
    server: OAuthServer, settings: OAuthSettings, store: Path, tmp_path: Path
) -> None:
    store.parents[1].mkdir()
    (tmp_path / "elsewhere").mkdir()
    store.parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OAuthUnavailable):
        await tokens(settings).access_token()
    assert list((tmp_path / "elsewhere").iterdir()) == []


async def test_a_login_of_another_client_is_not_used(
    server: OAuthServer, settings: OAuthSettings, store: Path
) -> None:
    await tokens(settings).access_token()
    other = tokens(server.settings(store, client_id="another"))
    assert "ingestd login receipts" in str(other.check())
    with pytest.raises(OAuthRefused, match="another client_id"):
        await other.access_token()


async def test_nobody_has_logged_in_yet(server: OAuthServer, store: Path) -> None:
    source = tokens(server.settings(store))
    with pytest.raises(OAuthRefused, match="run: ingestd login receipts"):
        await source.access_token()
    assert "run: ingestd login receipts" in str(source.check())
    missing = Secret(file=store.with_name("none"))
    with pytest.raises(SecretUnavailable, match="does not exist"):
        await tokens(server.settings(store, refresh_token=missing)).access_token()


async def test_a_new_login_is_kept_and_used(
    server: OAuthServer, settings: OAuthSettings, store: Path
) -> None:
    source = tokens(settings)
    granted = Granted(access_token="access-new", lifetime=timedelta(hours=1), refresh_token=server.login())
    await source.keep(granted)
    assert await source.access_token() == "access-new"
    assert server.forms == []
    await tokens(settings).access_token()
    assert server.forms[0]["refresh_token"] == granted.refresh_token
    with pytest.raises(OAuthRefused, match="offline_access"):
        await source.keep(Granted(access_token="a", lifetime=timedelta(hours=1)))


async def test_a_server_that_does_not_rotate_causes_no_more_writing(
    server: OAuthServer, settings: OAuthSettings, store: Path
) -> None:
    server.rotates = False
    source = tokens(settings)
    source.invalidate(await source.access_token())
    before = store.stat()
    await source.access_token()
    assert store.stat().st_ino == before.st_ino


# --- what servers say --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        ("invalid_request", "check token_url"),
        ("invalid_client", "client_secret_file"),
        ("invalid_grant", "log in again"),
        ("unauthorized_client", "client is registered"),
        ("unsupported_grant_type", "check grant"),
        ("invalid_scope", "check scope"),
        ("consent_required", "administrator"),
        ("something_new", "look the code up"),
    ],
)
async def test_each_refusal_says_what_to_do_and_never_a_secret(
    server: OAuthServer, settings: OAuthSettings, tmp_path: Path, code: str, advice: str
) -> None:
    """The server repeats what it was sent."""
    server.answers = [code]
    secret = secret_in(tmp_path / "secret", CLIENT_SECRET)
    seed = (tmp_path / "seed").read_text().strip()
    source = tokens(
        server.settings(settings.store, client_secret=secret, refresh_token=settings.refresh_token)
    )
    with pytest.raises(OAuthRefused) as caught:
        await source.access_token()
    text = str(caught.value)
    assert caught.value.code == code
    assert code in text and advice in text and "[secret]" in text
    assert CLIENT_SECRET not in text and seed not in text
    assert await source.access_token(), "the next one may be good"


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (503, b"", "HTTP 503"),
        (429, b"<html>", "HTTP 429"),
        (500, b'{"error": "server_error"}', "now"),
        (400, b'{"error": "temporarily_unavailable"}', "now"),
        (404, b"<html>not found</html>", "check token_url"),
        (200, b"", "check token_url"),
        (200, b"[1]", "check token_url"),
        (200, b"[" * 60_000, "check token_url"),
        (200, b"{" + b" " * 100_000 + b"}", "check token_url"),
        (200, b"{}", "without a usable access token"),
        (200, b'{"access_token": "a\\u0001b"}', "without a usable access token"),
        (200, b'{"access_token": "a b"}', "without a usable access token"),
        (200, b'{"access_token": 7}', "without a usable access token"),
        (200, b'{"access_token": "a", "token_type": "mac"}', "without a usable access token"),
    ],
)
async def test_garbage_is_a_sentence_and_may_be_better_later(
    server: OAuthServer, settings: OAuthSettings, status: int, body: bytes, words: str
) -> None:
    server.answers = [(status, body)]
    source = tokens(settings)
    with pytest.raises(OAuthUnavailable, match=words) as caught:
        await source.access_token()
    assert not isinstance(caught.value, OAuthRefused)
    assert await source.access_token()


async def test_a_redirect_is_not_followed(server: OAuthServer, settings: OAuthSettings) -> None:
    server.answers = [(307, b"")]
    with pytest.raises(OAuthRefused, match="token_url"):
        await tokens(settings).access_token()
    assert len(server.forms) == 1


async def test_a_silent_server_is_given_up(
    server: OAuthServer, settings: OAuthSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oauth_endpoint, "SILENCE", timedelta(seconds=0.2))
    server.latency_seconds = 3
    with pytest.raises(OAuthUnavailable, match="silent"):
        await tokens(settings).access_token()


async def test_nobody_listens(settings: OAuthSettings) -> None:
    from dataclasses import replace

    with pytest.raises(OAuthUnavailable, match="No connection"):
        await tokens(replace(settings, token_url="http://127.0.0.1:9/token")).access_token()


@pytest.mark.parametrize("lifetime", [None, "soon", -5, True, 1e300, "9" * 400])
async def test_a_lifetime_that_makes_no_sense_harms_nobody(
    server: OAuthServer, settings: OAuthSettings, lifetime: object
) -> None:
    server.lifetime = lifetime
    assert await tokens(settings).access_token()


def test_no_token_is_ever_shown() -> None:
    granted = Granted(access_token="canary", lifetime=timedelta(), refresh_token="canary")
    assert "canary" not in repr(granted)


def test_a_store_that_is_not_there_holds_nothing(store: Path) -> None:
    assert TokenStore(store).load() is None
