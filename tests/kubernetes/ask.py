"""Run inside a cluster: asks the gateway at argv[1] again and again, and prints a line of JSON for each answer."""

import json
import os
import sys
import time

import httpx

HEADERS = {"authorization": f"Bearer {os.environ['FREEWAY_API_KEY']}"}
ASK = {"model": "auto", "messages": [{"role": "user", "content": "hello"}]}

while True:
    try:
        # A connection of its own, as another caller would make it, which is refused or made within a second.
        answer = httpx.post(sys.argv[1], headers=HEADERS, json=ASK, timeout=httpx.Timeout(30, connect=1))
        said = "answered" if answer.status_code == 200 else answer.text
    except httpx.TransportError as exc:
        said = repr(exc)
    sys.stdout.write(json.dumps({"at": time.time(), "said": said}) + "\n")
    sys.stdout.flush()
    time.sleep(0.1)
