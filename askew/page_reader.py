"""Reads the pages of a running control plane, for the commands that show them; each failure is one line."""

from __future__ import annotations

import argparse
import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from askew.cli.input_file import read_text
from askew.errors import CommandError
from mesh.errors import one_line

DEFAULT_URL = "http://127.0.0.1:18080"
DEADLINE_S = 10.0
LARGEST_BYTES = 256 * 1024 * 1024


def add_reader_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what all readers take: where the control plane is, and how to write the answer."""
    parser.add_argument("--url", default=DEFAULT_URL, help=f"the control plane's HTTP port ({DEFAULT_URL})")
    parser.add_argument("--token-file", metavar="FILE", help="holds the bearer token, if one is asked for")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="text, or stable JSON")


class PageReader:
    """Fetches JSON pages from one control plane."""

    def __init__(self, url: str, *, token: str = "") -> None:
        if not _is_http(url):
            raise CommandError(one_line(f"--url: found {url!a}, allowed: http://HOST:PORT or https://HOST:PORT"))
        self._url, self._token = url.rstrip("/"), token
        # No proxy of the environment: the control plane is near, and the token is for it alone.
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect).open

    @classmethod
    def of(cls, args: argparse.Namespace) -> PageReader:
        """Return the reader that a command's arguments ask for."""
        return cls(args.url, token=read_text(args.token_file).strip() if args.token_file else "")

    def get(self, path: str, **query: str) -> Any:
        """Return a page.

        Raises
        ------
        CommandError
            with exit code 2 where the page says that a name is unknown, else with 1: no answer, no such page, no
            right to read it, no JSON.
        """
        address = self._url + path + ("?" + urllib.parse.urlencode(query) if query else "")
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        try:
            with self._open(urllib.request.Request(address, headers=headers), timeout=DEADLINE_S) as response:
                return _json(response.read(LARGEST_BYTES), address)
        except urllib.error.HTTPError as error:
            with error:
                raise _refusal(error, address) from error
        except (OSError, http.client.HTTPException, ValueError) as error:  # URLError and TimeoutError are OSErrors
            why = getattr(error, "reason", None) or error
            why = getattr(why, "strerror", None) or why
            raise CommandError(one_line(f"{address}: cannot be read: {why}"), exit_code=1) from error


def _is_http(url: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(url)
        return url.isprintable() and parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # half an IPv6 address, or a port that is no number or too large
        return False


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A control plane never redirects; the token must not go where another server points."""

    def redirect_request(self, *_: object) -> None:
        return None


def _refusal(error: urllib.error.HTTPError, address: str) -> CommandError:
    try:
        said = json.loads(error.read(LARGEST_BYTES)).get("error", "")
    except (ValueError, AttributeError, OSError):
        said = ""
    if error.code == 404 and said:
        return CommandError(one_line(str(said)))
    if error.code == 404:
        return CommandError(one_line(f"{address}: this control plane has no such page"), exit_code=1)
    return CommandError(one_line(f"{address}: {said or error.reason} (status {error.code})"), exit_code=1)


def _json(body: bytes, address: str) -> Any:
    try:
        return json.loads(body)
    except ValueError as error:
        raise CommandError(one_line(f"{address}: found no JSON: is this a control plane?"), exit_code=1) from error
