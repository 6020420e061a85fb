"""
Starts the HTTP gateway that TensorZero's PyPI package contains, and prints its address.

Run in an environment of its own. The gateway is the Rust one; this process around it adds some 20 MB of memory and
the time that Python needs to start, and nothing to a request.
"""

import signal
import sys

from tensorzero import _start_http_gateway

gateway = _start_http_gateway(
    config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False
)
print(gateway.base_url, flush=True)  # noqa: T201 - the harness reads it
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
signal.pause()
