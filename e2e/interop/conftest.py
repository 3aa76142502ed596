"""What the tests are run against: servers that e2e/interop/run.ts has started, described in the environment."""

import json
import os
from dataclasses import dataclass

import numpy as np
import pytest

SERVERS = json.loads(os.environ["PILOTLIGHT_INTEROP"])


@dataclass(frozen=True)
class Target:
    """Where one model is."""

    model: str
    http: str
    grpc: str
    authority: str | None

    @property
    def channel_args(self):
        limits = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        return limits + ([("grpc.default_authority", self.authority)] if self.authority else [])


class Server:
    """A runtime by itself, or a whole platform, in front of which an activator stands."""

    def __init__(self, kind):
        self.kind = kind

    def target(self, model) -> Target:
        return Target(model=model, **SERVERS[self.kind][model])


@pytest.fixture(params=sorted(SERVERS))
def server(request) -> Server:
    return Server(request.param)


TEXTS = ["", "Zürich", 'line\n"quoted"', "🙂"]

#: Four elements of each datatype, the ones that are easily lost: extremes, NaN, infinities, text beyond ASCII.
VALUES = {
    "BOOL": np.array([True, False, True, True]),
    "UINT8": np.array([0, 1, 254, 255], dtype=np.uint8),
    "UINT16": np.array([0, 1, 65534, 65535], dtype=np.uint16),
    "UINT32": np.array([0, 1, 2**32 - 2, 2**32 - 1], dtype=np.uint32),
    "UINT64": np.array([0, 2**53 + 1, 2**64 - 2, 2**64 - 1], dtype=np.uint64),
    "INT8": np.array([-128, -1, 0, 127], dtype=np.int8),
    "INT16": np.array([-(2**15), -1, 0, 2**15 - 1], dtype=np.int16),
    "INT32": np.array([-(2**31), -1, 0, 2**31 - 1], dtype=np.int32),
    "INT64": np.array([-(2**63), -(2**53) - 1, 2**53 + 1, 2**63 - 1], dtype=np.int64),
    "FP32": np.array([np.nan, np.inf, -np.inf, 1.5], dtype=np.float32),
    "FP64": np.array([np.nan, np.inf, -np.inf, 0.1], dtype=np.float64),
    "BYTES": np.array([text.encode() for text in TEXTS], dtype=np.object_),
}
HALVES = np.array([1, -2, 65504, np.inf], dtype=np.float16)


def same(found, expected):
    """Equal in every element, NaN and all; BYTES may come as text."""
    found = np.asarray(found)
    if expected.dtype == np.object_:
        as_bytes = [one if isinstance(one, bytes) else str(one).encode() for one in found.reshape(-1)]
        return as_bytes == list(expected.reshape(-1))
    return found.shape == expected.shape and np.array_equal(
        found.astype(expected.dtype), expected, equal_nan=expected.dtype.kind == "f"
    )
