"""
Fuzzers: what comes from outside is bent until something breaks that should not.

Each case is made from a seed, so that a number is enough to see it again. What must hold: only a ProviderFailure or a
GatewayError comes out; an answer that was cut is never passed as whole; every request has an end.
"""
