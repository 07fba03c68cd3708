"""``askew enforcer``: one-shot use of the node's writer. Leases that nobody renews end at the next use of it."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from askew.cli.input_file import parse_file
from askew.errors import CommandError
from enforcer.containers_file import ListedContainer, parse_containers_file
from enforcer.errors import EnforcerError, StaleGenerationError, UnknownContainerError
from enforcer.host import Host, real_host
from enforcer.host_paths import HostPaths
from enforcer.journal import FileStorage, Journal
from enforcer.results import ActionResult, Restored, WriteMade
from enforcer.settings import WriterSettings
from enforcer.writer import Writer
from enforcer.writer_lock import only_writer
from mesh.actions import parse_action_set
from mesh.errors import one_line

HELP = "apply, show or take back actions on this node"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    apply = verbs.add_parser("apply", help="make an action file true until its leases end")
    apply.add_argument("actions", metavar="ACTIONS.json", help="the action set; - is standard input")
    apply.add_argument("--dry-run", action="store_true", help="print the exact writes and make none")
    status = verbs.add_parser("status", help="what this host can do, which actions hold, what others changed")
    revert = verbs.add_parser("revert", help="give every value back and print what was written")
    for verb in (apply, status, revert):
        verb.add_argument("--host-root", metavar="DIR", default="/", help="the host's root (default /)")
        verb.add_argument("--containers", metavar="FILE", help="names of containers, by pid or by cgroup")


def run(args: argparse.Namespace) -> int:
    host_root = Path(args.host_root)
    if not host_root.is_dir():
        raise CommandError(
            one_line(f"--host-root {args.host_root}: not a directory, allowed: the host's root directory")
        )
    paths = HostPaths(str(host_root.resolve()))
    try:
        return _run(args, paths)
    except EnforcerError as error:
        raise CommandError(str(error), exit_code=1) from error
    except OSError as error:
        raise CommandError(one_line(f"{error.filename or args.host_root}: {error.strerror}"), exit_code=1) from error


def _run(args: argparse.Namespace, paths: HostPaths) -> int:
    host = real_host(paths, listed=_listed(args.containers, paths))
    try:
        verb = {"apply": _apply, "status": _status, "revert": _revert}[args.verb]
        return verb(args, host)
    finally:
        host.close()


def _listed(file: str | None, paths: HostPaths) -> Sequence[ListedContainer]:
    if file is not None:
        return parse_file(file, parse_containers_file)
    return parse_file(paths.containers_file, parse_containers_file) if os.path.exists(paths.containers_file) else ()


def _apply(args: argparse.Namespace, host: Host) -> int:
    action_set = parse_file(args.actions, parse_action_set)
    try:
        if args.dry_run:
            with _writer(host) as writer:
                writer.look()
                results = writer.preview(action_set)
        else:
            with only_writer(host.paths.state, WriterSettings().journal_name), _writer(host) as writer:
                _tell(writer.start())
                results = writer.apply(action_set)
    except (StaleGenerationError, UnknownContainerError) as error:
        raise CommandError(one_line(f"{args.actions}: {error}")) from error
    answer: dict[str, Any] = {"generation": action_set.generation, "results": [_result(each) for each in results]}
    _print(answer | ({"dry_run": True} if args.dry_run else {}))
    return 0


def _status(args: argparse.Namespace, host: Host) -> int:
    del args
    with _writer(host) as writer:
        writer.look()
        now_s = _clock()
        actions = [
            {
                "container": lease.action.container,
                "resource": lease.action.resource,
                "value": lease.action.value,
                "unit": lease.action.unit,
                "generation": lease.generation,
                "expires_in_s": round(max(0.0, lease.expires_at_s - now_s), 3),
            }
            for lease in writer.state.leases.values()
        ]
        conflicts = list(writer.state.conflicts)
    _print({"capabilities": host.capabilities(), "actions": actions, "conflicts": conflicts})
    return 0


def _revert(args: argparse.Namespace, host: Host) -> int:
    del args
    with only_writer(host.paths.state, WriterSettings().journal_name), _writer(host) as writer:
        restored = writer.start() + writer.revert()
    writes = [_write(each) for each in restored.writes]
    _print({"writes": writes, "conflicts": list(restored.conflicts), "failed": list(restored.failed)})
    return 0


@contextmanager
def _writer(host: Host) -> Iterator[Writer]:
    settings = WriterSettings(page_bytes=os.sysconf("SC_PAGE_SIZE"))
    storage = FileStorage(f"{host.paths.state}/{settings.journal_name}.journal")
    try:
        yield Writer(host, Journal(storage, limit_bytes=settings.journal_limit_bytes), clock=_clock, settings=settings)
    finally:
        storage.close()


def _clock() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _tell(restored: Restored) -> None:
    """Say on stderr what was found and mended before the work that was asked for."""
    for conflict in restored.conflicts:
        print(one_line(f"conflict: {conflict}"), file=sys.stderr)
    for failed in restored.failed:
        print(one_line(f"not given back yet: {failed}"), file=sys.stderr)


def _result(result: ActionResult) -> dict[str, Any]:
    return {
        "container": result.container,
        "resource": result.resource,
        "result": result.result,
        "detail": result.detail,
        "writes": [_write(each) for each in result.writes],
    }


def _write(write: WriteMade) -> dict[str, str | None]:
    return {"path": write.path, "before": write.before, "after": write.after}


def _print(answer: dict[str, Any]) -> None:
    print(json.dumps(answer, indent=2, allow_nan=False))
