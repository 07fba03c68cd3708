"""What proxies report over the xDS port, as ``mesh.telemetry`` values. Malformed input is counted and dropped."""
