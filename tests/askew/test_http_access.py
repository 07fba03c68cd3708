"""Who may read the HTTP port from where."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from askew.errors import CommandError
from askew.http_access import TokenFile, access_rule, is_from_here
from tests.askew.running_plane import running_plane

TOKEN = "0123456789abcdef"
AWAY = "10.0.0.7"


@pytest.fixture
def token(tmp_path: Path) -> TokenFile:
    """A loaded token file."""
    (tmp_path / "token").write_text(TOKEN + "\n")
    found = TokenFile(str(tmp_path / "token"))
    found.load()
    return found


async def status(path: str, *, peer: str, rule_token: TokenFile | None = None, **headers: str) -> int:
    """Return the status that a request from ``peer`` gets, where the page itself says 200."""
    named = {"Host": "10.0.0.1:18080"} | headers

    class Transport:
        def get_extra_info(self, name: str, default: object = None) -> object:
            return (peer, 4242) if name == "peername" else default

        def is_closing(self) -> bool:
            return False

    request = make_mocked_request("GET", path, headers=named, transport=Transport())

    async def page(_: web.Request) -> web.StreamResponse:
        return web.Response()

    return (await access_rule(rule_token)(request, page)).status


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 200),
        ({"Origin": "http://localhost:18080"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost:18080"}, 200),
        ({"Origin": "https://evil.example"}, 401),
        ({"Origin": "null"}, 401),
        ({"Origin": "http://localhost:3000"}, 401),
        ({"Sec-Fetch-Site": "cross-site"}, 401),
        ({"Sec-Fetch-Site": "same-site"}, 401),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 200),  # somebody follows a link
    ],
)
@pytest.mark.parametrize("path", ["/v3/discovery:clusters", "/scheduler/prioritize", "/debug/plan"])
async def test_another_sites_page_is_not_this_machines_wish(path: str, headers: dict[str, str], expected: int) -> None:
    """A browser on this machine posts to 127.0.0.1 for any page that it shows, and could so refuse changes."""
    assert await status(path, peer="127.0.0.1", Host="localhost:18080", **headers) == expected


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_health_and_metrics_are_open(path: str, token: TokenFile) -> None:
    """Probes and Prometheus carry no token."""
    assert await status(path, peer=AWAY, rule_token=token) == 200
    assert await status(path, peer=AWAY) == 200


@pytest.mark.parametrize(
    "path", ["/", "/debug/", "/debug/plan", "/debug/config_dump?proxyID=x", "/nowhere",
             "/healthz/", "/metrics/../debug/plan", "//metrics", "/healthz%2f..%2fdebug/plan"],
)  # fmt: skip
async def test_every_other_page_needs_this_machine_or_the_token(path: str, token: TokenFile) -> None:
    """Also a page that does not exist: nobody learns which do."""
    assert await status(path, peer=AWAY, rule_token=token) == 401
    assert await status(path, peer=AWAY) == 401
    assert await status(path, peer="127.0.0.1", rule_token=token, Host="localhost:18080") == 200
    assert await status(path, peer=AWAY, rule_token=token, Authorization=f"Bearer {TOKEN}") == 200


@pytest.mark.parametrize("path", ["/scheduler/prioritize", "/v3/discovery:clusters", "/v3/discovery%3Aclusters"])
async def test_what_has_a_port_of_its_own_is_for_this_machine_only(path: str, token: TokenFile) -> None:
    """The token reads pages; who a proxy or a scheduler is, a certificate says, on the mTLS port."""
    assert await status(path, peer=AWAY, rule_token=token, Authorization=f"Bearer {TOKEN}") == 401
    assert await status(path, peer="127.0.0.1", rule_token=token, Host="localhost:18080") == 200


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer ", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer é"]
)
async def test_a_wrong_token_is_no_token(given: str, token: TokenFile) -> None:
    """Nearly right is wrong."""
    assert await status("/debug/plan", peer=AWAY, rule_token=token, Authorization=given) == 401


async def test_a_token_without_a_file_opens_nothing() -> None:
    """Where none is set there is none to have, the empty one neither."""
    assert await status("/debug/plan", peer=AWAY, Authorization="Bearer ") == 401


@pytest.mark.parametrize(
    ("peer", "host", "expected"),
    [
        ("127.0.0.1", "127.0.0.1:18080", True),
        ("::1", "[::1]:18080", True),
        ("::ffff:127.0.0.1", "localhost", True),
        ("127.0.0.1", "askew-rest", True),
        ("127.0.0.1", "evil.example:18080", False),
        ("127.0.0.1", "[2001:db8::1]:18080", False),
        ("127.0.0.1", "127.0.0.1.evil.example", False),
        (AWAY, "localhost", False),
        ("", "localhost", False),
    ],
)
def test_this_machine_is_a_loopback_peer_that_was_not_led_here(peer: str, host: str, expected: bool) -> None:
    """A browser that a foreign name leads here (DNS rebinding) is not this machine's own wish."""
    assert is_from_here(peer, host) == expected


async def test_forwarded_headers_are_not_believed(token: TokenFile) -> None:
    """Anyone can write them."""
    for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP"):
        assert await status("/debug/plan", peer=AWAY, rule_token=token, **{name: "127.0.0.1"}) == 401


async def test_a_changed_token_is_the_token(token: TokenFile, tmp_path: Path) -> None:
    """Without a restart, at the next request."""
    (tmp_path / "token").write_text("fedcba9876543210")

    assert not await token.admits(TOKEN)
    assert await token.admits("fedcba9876543210")


async def test_a_bad_token_file_keeps_the_last_token_and_says_so_once(
    token: TokenFile, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An empty file must never make the empty token right."""
    caplog.set_level(logging.ERROR)
    (tmp_path / "token").write_text("\n")

    assert [await token.admits(given) for given in ("", TOKEN, "")] == [False, True, False]
    assert len(caplog.records) == 1
    assert TOKEN not in caplog.text


@pytest.mark.parametrize("content", [None, b"", b"short", b"\xff" * 20, b"0123456789abcde\n\n", b"01234567\n89abcdef"])
def test_a_file_that_holds_no_token_is_one_line(content: bytes | None, tmp_path: Path) -> None:
    """Missing, empty, too short, not ASCII, several lines: exit 2 before anything listens."""
    if content is not None:
        (tmp_path / "token").write_bytes(content)

    with pytest.raises(CommandError, match=r"^http\.token_file: found .* allowed: a file with 16") as error:
        TokenFile(str(tmp_path / "token")).load()

    assert (error.value.exit_code, "\n" in str(error.value)) == (2, False)


async def test_the_control_plane_has_the_rule(tmp_path: Path) -> None:
    """Its pages ask who is there, its metrics do not."""
    mesh = "apiVersion: askew.mesh/v1\nnodes: [{name: n1}]\nservices: []\n"
    async with running_plane(tmp_path, mesh) as running:
        for path, expected in (("/debug/plan", 401), ("/", 401), ("/v3/discovery:clusters", 401), ("/metrics", 200)):
            async with running.http.get(running.url + path, headers={"Host": "evil.example"}) as response:
                assert response.status == expected
        assert (await running.get("/debug/plan"))[0] == 200
