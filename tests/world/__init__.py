"""
A simulated world of providers and callers that shares no assumption with the gateway.

It is written from what providers document and what was measured of them, and imports nothing of ``gateway`` or
``providers``: who is tested with it comes from outside (``Subject`` in subjects.py), and meets the world only through HTTP
requests. See docs/harvest.md.
"""
