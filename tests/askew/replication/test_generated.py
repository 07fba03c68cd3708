"""The messages' Python is what the compiler makes of their proto."""

from __future__ import annotations

from pathlib import Path

from grpc_tools import protoc

HERE = Path(__file__).parents[3]


def test_the_generated_code_is_the_protos(tmp_path: Path) -> None:
    """Nobody edits one without the other."""
    proto = "askew/replication/replicas.proto"
    assert protoc.main(["protoc", f"-I{HERE}", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", proto]) == 0
    for made in tmp_path.rglob("replicas_pb2.*"):
        assert made.read_text() == (HERE / made.relative_to(tmp_path)).read_text()
