"""Hand a tree of named tuples of arrays from one compiled function to the next as one pointer.

numba passes a named tuple by value, all its arrays with all their fields, and counts references whenever an array is
taken out. With the state of a whole world that copying and counting is most of the engine's time. ``lend`` puts the
tuple on the caller's stack once; ``lent.servers.busy_s`` then loads just that array, without an owner. A loan must not
outlive the function that lent it, nor be returned; the caller's own arguments keep the arrays alive.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core import cgutils
from numba.core.datamodel.models import PrimitiveModel
from numba.core.typing.templates import AttributeTemplate
from numba.extending import infer_getattr, intrinsic, lower_getattr_generic, register_model


class Lent(types.Type):  # type: ignore[misc]
    """The type of a pointer to a named tuple that somebody else owns."""

    def __init__(self, lender: Any) -> None:
        self.lender = lender
        super().__init__(name=f"Lent({lender})")

    def field(self, name: str) -> tuple[int, Any]:
        """Return position and type of a field as a borrower sees it."""
        index = self.lender.fields.index(name)
        kind = self.lender.types[index]
        return index, Lent(kind) if isinstance(kind, types.BaseNamedTuple) else kind


@register_model(Lent)
class _LentModel(PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Lent) -> None:
        super().__init__(manager, kind, manager.lookup(kind.lender).get_value_type().as_pointer())


@infer_getattr
class _LentFields(AttributeTemplate):  # type: ignore[misc]
    key = Lent

    def generic_resolve(self, kind: Lent, name: str) -> Any:
        return kind.field(name)[1] if name in kind.lender.fields else None


@lower_getattr_generic(Lent)  # type: ignore[untyped-decorator]
def _load_field(context: Any, builder: Any, kind: Lent, pointer: Any, name: str) -> Any:
    index, field = kind.field(name)
    place = cgutils.gep_inbounds(builder, pointer, 0, index)
    if isinstance(field, Lent):
        return place
    value = builder.load(place)
    if isinstance(field, types.Array):
        array = context.make_array(field)(context, builder, value)
        array.meminfo = cgutils.get_null_value(array.meminfo.type)
        array.parent = cgutils.get_null_value(array.parent.type)
        return array._getvalue()
    return value


@intrinsic  # type: ignore[untyped-decorator]
def lend(typing_context: Any, value: Any) -> Any:
    """Return a loan of ``value``, a named tuple."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return cgutils.alloca_once_value(builder, arguments[0])

    return Lent(value)(value), generate
