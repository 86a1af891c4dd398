"""A latency as a target could have measured it."""

from __future__ import annotations

from jdn_core.search.latencies import Latency


def latency(ms: float) -> Latency:
    return Latency(ms, 0.9 * ms, 1.2 * ms, "160x120", "onnxruntime", "fp32", 1, "x86_64", "a" * 64)
