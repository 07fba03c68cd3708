"""``askew enforce``: the node agent."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from askew.cli.addresses import host_and_port
from askew.cli.input_file import read_text
from askew.errors import CommandError
from askew.node_agent import EnforceSettings, NodeAgentProcess, NodeChoice, check_agent
from askew.settings import compose_over
from askew.stray_variables import warn_of_strays
from enforcer.agent import ROLES
from enforcer.errors import BadAgentSettingsError
from enforcer.settings import check_api
from mesh.errors import BadInputError, one_line

HELP = "run the node agent: divide this node's resources between its containers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--node", metavar="NAME", help="this node's name (default: the host's)")
    parser.add_argument("--containers", metavar="FILE", help="the containers (default: /etc/askew/containers.json)")
    parser.add_argument("--role", choices=ROLES, default="all", help="what this process writes (default all)")
    parser.add_argument("--grpc", metavar="HOST:PORT", type=host_and_port, help="the API (127.0.0.1:18100)")
    parser.add_argument("--http", metavar="HOST:PORT", type=host_and_port, help="debug, metrics (127.0.0.1:18180)")
    parser.add_argument("--host-root", metavar="DIR", default="/", help="the host's root (default /)")
    parser.add_argument("--alive", metavar="FILE", help="touch FILE each second while the agent's writer answers")
    parser.add_argument("--config", metavar="FILE", help="settings (YAML)")
    parser.add_argument("--dry-run", action="store_true", help="decide and log the exact writes, and make none")


def run(args: argparse.Namespace) -> int:
    settings = _settings(args)
    if args.containers is not None:
        read_text(args.containers)  # a list that was asked for must be there
    root = Path(args.host_root)
    if not root.is_dir():
        raise CommandError(
            one_line(f"--host-root {args.host_root}: not a directory, allowed: the host's root directory")
        )
    choice = NodeChoice(
        node=args.node or socket.gethostname(),
        role=args.role,
        host_root=str(root.resolve()),
        containers_file=args.containers,
        dry_run=args.dry_run,
        alive_file=args.alive,
    )
    try:
        asyncio.run(_enforce(choice, settings))
    except* CommandError as group:
        raise group.exceptions[0] from None
    return 0


def _settings(args: argparse.Namespace) -> EnforceSettings:
    text = None if args.config is None else read_text(args.config)
    warn_of_strays(os.environ)
    try:
        settings = compose_over(EnforceSettings(), file_text=text, environment=os.environ)
    except BadInputError as error:
        raise CommandError(one_line(f"{args.config}: {error}")) from error
    if args.grpc is not None:
        settings = replace(settings, api=replace(settings.api, host=args.grpc[0], port=args.grpc[1]))
    if args.http is not None:
        settings = replace(settings, http=replace(settings.http, host=args.http[0], port=args.http[1]))
    try:
        check_api(settings.api)
        check_agent(settings.agent)
    except (BadAgentSettingsError, BadInputError) as error:
        raise CommandError(one_line(str(error))) from error
    return settings


async def _enforce(choice: NodeChoice, settings: EnforceSettings) -> None:
    """Run the agent until SIGTERM or SIGINT; then it gives back what it has changed."""
    agent = asyncio.create_task(NodeAgentProcess(choice, settings).run(), name="node-agent")
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, agent.cancel)
    with suppress(asyncio.CancelledError):
        await agent
