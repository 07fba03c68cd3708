"""Protobuf files written as tables, for messages that no package here has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from google.protobuf import descriptor_pb2

Fields = tuple[tuple[str, int, str], ...]
"""(name, number, type) of each field. A type is a scalar's name, a message's of the same file, or ``.package.Name``;
``[type]`` is repeated."""


def proto_file(
    name: str, package: str, messages: Mapping[str, Fields], *, dependencies: Sequence[str] = (), syntax: str = "proto3"
) -> descriptor_pb2.FileDescriptorProto:
    """Return the file ``name`` with these messages."""
    file = descriptor_pb2.FileDescriptorProto(name=name, package=package, syntax=syntax, dependency=dependencies)
    for message_name, fields in messages.items():
        message = file.message_type.add(name=message_name)
        for field in fields:
            _add(message, *field, package=package)
    return file


def _add(message: descriptor_pb2.DescriptorProto, name: str, number: int, kind: str, *, package: str) -> None:
    types = descriptor_pb2.FieldDescriptorProto
    field = message.field.add(name=name, number=number)
    field.label = types.LABEL_REPEATED if kind.startswith("[") else types.LABEL_OPTIONAL
    kind = kind.strip("[]")
    if kind.islower() and not kind.startswith("."):
        field.type = types.Type.Value(f"TYPE_{kind.upper()}")
    else:
        field.type, field.type_name = types.TYPE_MESSAGE, kind if kind.startswith(".") else f".{package}.{kind}"
