"""Makes a cluster hold the objects that are wanted, and takes all of them back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from istio.difference import Action, Apply, Delete, KubeObject, Ref, difference
from istio.errors import ChangedMeanwhileError, NoSuchObjectError, NotPermittedError
from istio.integration import BOOTSTRAP_CONFIG, FIELD_MANAGER, SELECTOR, Integration
from istio.kinds import DESTINATION_RULES, ENVOY_FILTERS, VIRTUAL_SERVICES, Kind

log = logging.getLogger(__name__)

CONFIG_MAPS = Kind("", "v1", "configmaps", "ConfigMap")
ALL_KINDS = (ENVOY_FILTERS, DESTINATION_RULES, VIRTUAL_SERVICES, CONFIG_MAPS)
_BY_NAME = {kind.name: kind for kind in ALL_KINDS}


class ObjectStore(Protocol):
    """What is needed of a client of the API; ``istio.client.KubernetesClient`` is one."""

    async def list(
        self, kind: Kind, *, namespace: str = "", label_selector: str = "", name: str = ""
    ) -> list[KubeObject]: ...

    async def apply(
        self, kind: Kind, body: KubeObject, *, field_manager: str = FIELD_MANAGER, force: bool = False
    ) -> KubeObject: ...

    async def delete(self, kind: Kind, name: str, *, namespace: str = "", uid: str = "") -> KubeObject: ...

    async def merge_patch(self, kind: Kind, name: str, patch: KubeObject, *, namespace: str = "") -> KubeObject: ...


@dataclass(slots=True)
class Outcome:
    """What was done; ``refused`` holds objects that are another's or may not be written, each with why.

    ``tried`` are those that were to be applied: where a run is broken off, the last of them may be there.
    """

    tried: list[Ref] = field(default_factory=list)
    applied: list[Ref] = field(default_factory=list)
    deleted: list[Ref] = field(default_factory=list)
    refused: dict[Ref, str] = field(default_factory=dict)


Pace = Callable[[Sequence[KubeObject], Sequence[KubeObject]], Sequence[KubeObject]]
"""From what is wanted and what is present, what should be there now: a step on the way."""


async def reconcile(
    store: ObjectStore,
    to: Integration,
    wanted: Sequence[KubeObject],
    *,
    pace: Pace = lambda wanted, present: wanted,
    outcome: Outcome | None = None,
) -> Outcome:
    """Make our objects those that are ``wanted``: what is missing or differs is applied, what is too much deleted.

    ``outcome`` is filled as it goes, for who must know what was done though the run is broken off.

    Idempotent: a run that was broken off is ended by the next. An object of one of our names that is another's is left
    as it is, and told of in the outcome. Raises what the store raises when the API is away.
    """
    present = await find_ours(store, to, kinds_of(to))
    outcome = outcome or Outcome()
    for action in difference(pace(wanted, present), present):
        await _do(store, action, outcome)
    return outcome


async def remove_all(store: ObjectStore, to: Integration, *, kinds: Iterable[Kind] = ALL_KINDS) -> Outcome:
    """Take back every object of ours of these kinds, whatever mode made it; the cluster then is as if we never were."""
    outcome = Outcome()
    for action in difference((), await find_ours(store, to, kinds)):
        await _do(store, action, outcome)
    return outcome


async def find_ours(store: ObjectStore, to: Integration, kinds: Iterable[Kind]) -> list[KubeObject]:
    """Return the objects with our label. A kind that is not installed has none."""
    found: list[KubeObject] = []
    for kind in kinds:
        namespace = to.root_namespace if kind is ENVOY_FILTERS else ""
        # Of ConfigMaps we may see those of the one name alone: RBAC binds a list to a name if the list says it.
        name = BOOTSTRAP_CONFIG if kind is CONFIG_MAPS else ""
        try:
            listed = await store.list(kind, namespace=namespace, label_selector=SELECTOR, name=name)
        except NoSuchObjectError as error:
            if not error.kind_is_absent:
                raise
            continue
        # Items of a list need not say what they are.
        found += [{"apiVersion": kind.api_version, "kind": kind.name, **one} for one in listed]
    return found


def kinds_of(to: Integration) -> tuple[Kind, ...]:
    """Return the kinds that a mode writes, or that another mode may have left."""
    kinds = (ENVOY_FILTERS, DESTINATION_RULES, VIRTUAL_SERVICES)
    return (*kinds, CONFIG_MAPS) if to.mode == "bootstrap" else kinds


async def _do(store: ObjectStore, action: Action, outcome: Outcome) -> None:
    """Perform one action. Somebody was faster: the next run looks again."""
    ref = action.ref
    kind = _BY_NAME[ref.kind]
    try:
        if isinstance(action, Apply):
            outcome.tried.append(ref)
            await store.apply(kind, action.body, force=action.force)
            outcome.applied.append(ref)
        elif isinstance(action, Delete):
            await store.delete(kind, ref.name, namespace=ref.namespace, uid=action.uid)
            outcome.deleted.append(ref)
        else:
            patch: dict[str, Any] = {"finalizers": list(action.finalizers) or None}
            if not any(done == ref for done in outcome.deleted):
                patch["resourceVersion"] = action.resource_version
            await store.merge_patch(kind, ref.name, {"metadata": patch}, namespace=ref.namespace)
    except NoSuchObjectError as error:
        if error.kind_is_absent:
            raise
    except NotPermittedError as error:
        # Rights may be bound in some namespaces alone: what may be written elsewhere must not wait for the rest.
        outcome.refused[ref] = str(error)
    except ChangedMeanwhileError as error:
        if isinstance(action, Apply):
            outcome.refused[ref] = ", ".join(error.owners) or str(error)
        log.info("%s: someone else wrote it: %s", ref, error)
