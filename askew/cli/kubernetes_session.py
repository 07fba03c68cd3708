"""What commands that speak to a cluster share: their settings, a client, and errors as one line."""

from __future__ import annotations

import argparse
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from askew.cli.input_file import read_text
from askew.errors import CommandError
from askew.settings import ServeSettings, compose
from askew.stray_variables import warn_of_strays
from istio.client import KubernetesClient, connect
from istio.errors import CannotConnectError, IstioError
from istio.integration import check
from mesh.errors import BadInputError, one_line


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add the flag that all of them take."""
    parser.add_argument("--config", metavar="FILE", help="settings (YAML): kubernetes, istio, watchdog")


def settings_of(args: argparse.Namespace) -> ServeSettings:
    """Return the settings of the file and the environment. Raises CommandError for a wrong one."""
    text = None if args.config is None else read_text(args.config)
    warn_of_strays(os.environ)
    try:
        settings = compose(file_text=text, environment=os.environ)
        check(settings.istio)
    except BadInputError as error:
        raise CommandError(one_line(f"{args.config or 'settings'}: {error}")) from error
    return settings


@asynccontextmanager
async def session(settings: ServeSettings) -> AsyncIterator[KubernetesClient]:
    """Connect to the cluster; what it refuses, or that it is away, becomes a CommandError with exit code 1."""
    try:
        async with await connect(settings.kubernetes) as client:
            yield client
    except CannotConnectError as error:
        raise CommandError(one_line(str(error))) from error
    except IstioError as error:
        raise CommandError(one_line(str(error)), exit_code=1) from error
