"""``askew`` and ``python -m askew``: find the command, run it, turn its errors into one line and an exit code."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, entry_points, version
from typing import NoReturn

from askew.errors import CommandError
from askew.logs import configure_logs
from mesh.errors import one_line

BUILT_IN = {
    "serve": "askew.cli.serve",
    "bootstrap": "askew.cli.bootstrap",
    "allocate": "askew.cli.allocate",
    "estimate": "askew.cli.estimate",
    "enforce": "askew.cli.enforce",
    "enforcer": "askew.cli.enforcer",
    "proxy-status": "askew.cli.proxy_status",
    "links": "askew.cli.links",
    "plan": "askew.cli.plan",
    "explain": "askew.cli.explain",
    "top": "askew.cli.top",
    "istio": "askew.cli.istio",
    "watchdog": "askew.cli.watchdog",
}
SUMMARIES = {
    "serve": "run the control plane",
    "bootstrap": "print an Envoy bootstrap for a container's sidecar",
    "allocate": "decide shares from rates and capacities in a file",
    "proxy-status": "what each proxy was sent and has accepted",
    "links": "bytes per second of each link, and how they are known",
    "plan": "a service's plan: clients, endpoints, shares and why",
    "explain": "why a client sends what it sends to a service, or to one endpoint of it",
    "top": "services by the requests that leave their node",
    "estimate": "estimate link traffic or flows from counters in a file",
    "enforce": "run the node agent",
    "istio": "print the Istio objects that would be applied, or take them back",
    "watchdog": "take our EnvoyFilters back when no control plane is ready",
    "enforcer": "apply, show or take back actions on this node",
    "lab": "a whole mesh on this machine: bench, demo, simulate, up; one node: colocate, squeeze",
}


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line, as all bad input's."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, one_line(f"{self.prog}: {message} (see {self.prog} --help)") + "\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 2 for bad input, 1 for what failed otherwise."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        options = _parse(arguments)
        configure_logs(level=options.log_level, form=options.log_format)
        code: int = options.run(options)
    except CommandError as error:
        print(one_line(str(error)), file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone; nobody is left to tell
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    everywhere = OneLineParser(add_help=False, argument_default=argparse.SUPPRESS)
    everywhere.add_argument("--version", action="version", version=f"askew {_version()}")
    everywhere.add_argument("--log-level", choices=("debug", "info", "warning", "error"))
    everywhere.add_argument("--log-format", choices=("text", "json"))
    parser = OneLineParser(prog="askew", parents=[everywhere], description="Embrace imbalance in a microservice mesh.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    table = _table()
    wanted = next((word for word in arguments if word in table), None)
    for name in sorted(table):
        command = commands.add_parser(name, parents=[everywhere], help=SUMMARIES.get(name))
        if name == wanted:  # only the wanted one is imported: the others may be large, or need an extra
            module = _load(name, table[name], command)
            _add_below(command, everywhere)
            command.set_defaults(run=module.run)
    # Not set_defaults: the actions are shared with the commands, whose default would then override what stands before.
    return parser.parse_args(arguments, argparse.Namespace(log_level="info", log_format="text"))


def _add_below(parser: argparse.ArgumentParser, everywhere: argparse.ArgumentParser) -> None:
    """Let what all commands take stand behind a command's own commands, too."""
    for action in parser._actions:
        for child in dict.fromkeys(action.choices.values()) if isinstance(action, argparse._SubParsersAction) else ():
            child._add_container_actions(everywhere)
            _add_below(child, everywhere)


def _table() -> dict[str, str]:
    found = {entry.name: entry.value for entry in entry_points(group="askew.commands")}
    return {"lab": "lab.command"} | found | BUILT_IN


def _load(name: str, path: str, command: argparse.ArgumentParser):  # type: ignore[no-untyped-def]  # a module
    """Return the module of a command, which has its arguments added, with all that it imports for them."""
    try:
        module = importlib.import_module(path)
        module.add_arguments(command)
    except ModuleNotFoundError as error:
        if name in BUILT_IN:
            raise
        raise CommandError(
            f"askew {name}: needs {error.name}, which is not installed; install it with: pip install 'askew[{name}]'"
        ) from error
    return module


def _version() -> str:
    try:
        return version("askew")
    except PackageNotFoundError:
        return "unknown (not installed)"


if __name__ == "__main__":
    sys.exit(main())
