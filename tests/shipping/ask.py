"""Run inside a container: one question to the gateway at argv[1], and its answer as JSON."""

import os
import sys

import httpx

reply = httpx.post(
    f"{sys.argv[1]}/v1/chat/completions",
    headers={"authorization": f"Bearer {os.environ['FREEWAY_API_KEY']}"},
    json={"model": "auto", "messages": [{"role": "user", "content": sys.argv[2]}]},
    timeout=40,
)
sys.stdout.write(reply.text)
