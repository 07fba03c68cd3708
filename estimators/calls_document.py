"""Who calls whom, as it was learnt, as a value that JSON can hold, and back. What is read is not trusted."""

from __future__ import annotations

from estimators.known_calls import KnownCalls, Span, Spans
from mesh.document import Fields, matching, number, read_list
from mesh.errors import BadInputError
from mesh.topology import Call, ServiceName

_CLOCK = number(0.0, 1e12, allowed="seconds of the clock, >= 0")
_SERVICE = matching(r"[^\s]+\.[^\s.]+", "a service as name.namespace")
_SPANS = ("clients", "counted", "servers")


def calls_document(known: KnownCalls) -> dict[str, object]:
    """Return what is known as mappings, lists and numbers, sorted.

    >>> calls_document(KnownCalls(60.0, 9.0, {Call("web.shop", "cart.shop"): 0.0}))
    {'clock_s': 60.0, 'calls': [['web.shop', 'cart.shop', 0.0]], 'clients': [], 'counted': [], 'servers': []}
    """
    calls = sorted([call.client, call.server, at_s] for call, at_s in known.calls.items())
    spans = {name: [[key, *span] for key, span in sorted(getattr(known, name).items())] for name in _SPANS}
    return {"clock_s": known.clock_s, "calls": calls, **spans}


def calls_from_document(value: object, *, path: str = "") -> KnownCalls:
    """Return what a document says.

    The clock stands where it stood: nothing grew old while nobody watched.

    Raises
    ------
    BadInputError
        for anything that ``calls_document`` would not have written.
    """
    fields = Fields(value, path, allowed=("clock_s", "calls", *_SPANS))
    clock_s = fields.take("clock_s", _CLOCK)

    def at(time: object, where: str) -> float:
        found = _CLOCK(time, where)
        if found > clock_s:
            raise BadInputError(where, time, f"at most clock_s, {clock_s:g}")
        return found

    def call(one: object, where: str) -> tuple[Call, float]:
        client, server, time = _row(one, where)
        names = [ServiceName(_SERVICE(name, f"{where}[{i}]")) for i, name in enumerate((client, server))]
        return Call(names[0], names[1]), at(time, f"{where}[2]")

    def span(one: object, where: str) -> tuple[ServiceName, Span]:
        name, since, last = _row(one, where)
        found = Span(at(since, f"{where}[1]"), at(last, f"{where}[2]"))
        if found.since_s > found.last_s:
            raise BadInputError(where, list(found), "a beginning that is not after the end")
        return ServiceName(_SERVICE(name, f"{where}[0]")), found

    calls = dict(fields.items("calls", call))
    spans: dict[str, Spans] = {name: dict(fields.items(name, span)) for name in _SPANS}
    return KnownCalls(clock_s=clock_s, calls=calls, **spans)  # type: ignore[arg-type]


def _row(value: object, path: str) -> list[object]:
    row = read_list(value, path, lambda one, _: one)
    if len(row) != 3:
        raise BadInputError(path, value, "a list of three")
    return row
