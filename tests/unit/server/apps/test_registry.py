from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from clawdforge.server.apps.registry import AppRegistry
from clawdforge.server.store.base import Store
from clawdforge.server.store.sqlite import SqliteStore
from clawdforge.wire.apps import TokenInfo
from clawdforge.wire.problems import Problem


class Clock:
    def __init__(self) -> None:
        self.now = 1000.5

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await SqliteStore.open(tmp_path / "clawdforge.db", durability="process", linger_s=0.001)
    yield opened
    await opened.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def apps(store: Store, clock: Clock) -> AppRegistry:
    return await AppRegistry.open(store, clock=clock)


async def test_a_token_opens_its_app_and_is_kept_as_its_hash_only(apps: AppRegistry, store: Store) -> None:
    app, token = await apps.mint("one", ["10.1.2.3/8", "::1"])
    other, other_token = await apps.mint("two")
    assert token.startswith("cf_")
    assert len(token) == 3 + 43
    assert (apps.authenticate(token.encode()), apps.authenticate(other_token.encode())) == (app, other)
    rows = await store.apps()
    assert [row.token_sha256 for row in rows] == [
        hashlib.sha256(each.encode()).digest() for each in (token, other_token)
    ]
    assert token not in repr((rows, app, apps.list(), vars(apps)))


@pytest.mark.parametrize("guess", [b"", b"cf_", b"cf_" + b"A" * 43, b"' OR '1'='1", b"\xff\0" * 500_000])
async def test_other_tokens_open_nothing(apps: AppRegistry, guess: bytes) -> None:
    _, token = await apps.mint("one")
    for wrong in (guess, token.encode() + b" ", token.encode()[:-1], token.upper().encode()):
        assert apps.authenticate(wrong) is None


async def test_a_registry_opened_again_knows_the_same_apps(apps: AppRegistry, store: Store) -> None:
    app, token = await apps.mint("one", ["192.168.0.0/16"])
    _, revoked = await apps.mint("two")
    await apps.revoke("two")
    again = await AppRegistry.open(store)
    assert again.authenticate(token.encode()) == app
    assert again.authenticate(revoked.encode()) is None
    assert again.list() == apps.list()


async def test_a_revoked_name_can_be_minted_again_as_another_app(apps: AppRegistry, clock: Clock) -> None:
    app, token = await apps.mint("same")
    clock.now = 2000.0
    await apps.revoke("same")
    assert apps.authenticate(token.encode()) is None
    clock.now = 3000.0
    await apps.revoke("same")
    fresh, fresh_token = await apps.mint("same")
    assert fresh.app_id != app.app_id
    assert apps.authenticate(fresh_token.encode()) == fresh
    assert apps.list() == [TokenInfo("same", [], 1000, None, 2000), TokenInfo("same", [], 3000, None, None)]


async def test_a_name_in_use_is_taken_also_when_asked_for_twice_at_once(apps: AppRegistry) -> None:
    outcomes = await asyncio.gather(*(apps.mint("Zoë") for _ in range(3)), return_exceptions=True)
    problems = [outcome for outcome in outcomes if isinstance(outcome, Problem)]
    assert [problem.code for problem in problems] == ["name_taken"] * 2
    with pytest.raises(Problem, match="exists"):
        await apps.mint("Zoe\u0308")  # the same name to a person
    assert [info.name for info in apps.list()] == ["Zoë"]


async def test_a_name_that_never_was_cannot_be_revoked(apps: AppRegistry) -> None:
    with pytest.raises(Problem) as caught:
        await apps.revoke("nobody")
    assert caught.value.code == "not_found"


@pytest.mark.parametrize(
    "name",
    ["", "  ", "\u3000", "a\nb", "a\0", "\x1b[31m", "a\x7f", "a\u2028b", "\ud800", "x" * 101, "a/b", ".", ".."],
)
async def test_a_bad_name_is_invalid(apps: AppRegistry, name: str) -> None:
    with pytest.raises(Problem) as caught:
        await apps.mint(name)
    assert caught.value.code == "invalid"
    assert caught.value.extra["errors"][0]["loc"] == ["name"]
    assert apps.list() == []


@pytest.mark.parametrize("name", ["x" * 100, "my app", "приложение", "🦀" * 100])
async def test_a_good_name_is_kept(apps: AppRegistry, name: str) -> None:
    app, _ = await apps.mint(name)
    assert app.name == name


@pytest.mark.parametrize("cidr", ["", "10.0.0.0/33", "10.0.0", "localhost", "::1/129", "10.0.0.0/8 ", "0x7f.1"])
async def test_a_bad_network_is_invalid_and_named_by_its_place(apps: AppRegistry, cidr: str) -> None:
    with pytest.raises(Problem) as caught:
        await apps.mint("one", ["127.0.0.1", cidr])
    assert caught.value.code == "invalid"
    assert caught.value.extra["errors"][0]["loc"] == ["ip_cidrs", 1]


@pytest.mark.parametrize(
    ("cidrs", "address", "admitted"),
    [
        ([], "8.8.8.8", True),
        (["10.0.0.0/8"], "10.9.9.9", True),
        (["10.0.0.0/8"], "127.0.0.1", False),
        (["10.0.0.0/8"], "::ffff:10.0.0.1", True),
        (["10.0.0.0/8"], "::ffff:127.0.0.1", False),
        (["::ffff:10.0.0.0/104"], "10.0.0.1", True),
        (["::ffff:10.0.0.0/104"], "11.0.0.1", False),
        (["::/0"], "10.0.0.1", False),
        (["fd00::/8"], "fd12::1", True),
        (["192.0.2.7"], "192.0.2.8", False),
    ],
)
async def test_an_app_is_used_from_its_own_networks_only(
    apps: AppRegistry, cidrs: list[str], address: str, admitted: bool
) -> None:
    app, _ = await apps.mint("one", cidrs)
    assert apps.admits(app, ip_address(address)) is admitted


async def test_the_last_use_is_known_at_once_and_stored_once_a_minute(
    apps: AppRegistry, store: Store, clock: Clock
) -> None:
    app, _ = await apps.mint("one")

    async def stored() -> int | None:
        await store.write()
        return (await store.apps())[0].last_used_at

    seen = []
    for clock.now in (5000.0, 5030.0, 5059.9, 5060.0, 900.0):
        apps.touch(app)
        seen.append((apps.list()[0].last_used_at, await stored()))
    assert seen == [(5000, 5000), (5030, 5000), (5059, 5000), (5060, 5060), (900, 900)]


async def test_a_use_that_cannot_be_stored_disturbs_nobody(apps: AppRegistry, store: Store) -> None:
    app, _ = await apps.mint("one")
    await store.close()
    apps.touch(app)
    assert apps.list()[0].last_used_at == 1000
