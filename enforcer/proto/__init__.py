"""The node agent's gRPC interface: ``node_agent.proto``; ``grpc_tools`` makes the rest, never edit that by hand."""
