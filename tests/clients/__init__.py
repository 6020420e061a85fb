"""
Real client programs, working through the gateway: ``python -m tests.clients [PROGRAM …]``.

Each runs in a fresh HOME, set up as ``docs/programs.md`` tells people to, against ``freeway serve`` in a process of its
own before simulated providers. It does a task that ends in a file, at sources of different dialects; it goes on when the
conversation outgrows every source; and it survives full sources, both where the gateway waits and where it says when to
come back. Programs that cannot be installed here are recorded calls instead (``recorded.py``).
"""
