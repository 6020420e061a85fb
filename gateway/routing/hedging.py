"""
When a second source is asked, too, and which may be: pure.

A second one is asked once the first took longer than all but one answer in twenty or so do (Dean and Barroso, *The tail at
scale*, CACM 2013).
"""

from __future__ import annotations

import math

from gateway.routing.latency import Pace
from gateway.settings import Hedge
from gateway.words import Deployment

FACTOR = 2.0
"""How many times the seconds that an answer mostly takes, or those to the first content of a stream, a source may be silent."""

LEAST = 3.0
"""Seconds of silence that prove nothing: under load, most sources need as long now and then."""

UNKNOWN = 10.0
"""Seconds to the first content that are borne with where it is not known how long it takes."""

SLOW = 1.5
"""How many times the seconds that an answer mostly takes a source has in any case, however soon its caller may leave."""

LEAST_WHOLE = 5.0
"""Seconds that an answer in one piece may take in any case."""

DEAR = 0.05
"""
The price from which on others would miss what a second source takes. At its pace, less than half of a window would be
used when it ends.
"""

_UNKNOWN = Pace(0.0)


def patience(pace: Pace | None, tokens: int, left: float, stays: float = math.inf) -> float:
    """
    Seconds for which a source of such a *pace* may say nothing before another is asked, too.

    *tokens* is how long an answer that comes in one piece mostly is: its head comes last. 0: it comes as a stream. Where the
    caller waits for *left* seconds, silence is not borne with for longer, but for tokens that may be on their way. Where the
    caller most probably *stays* for so many, another that is as quick is to have the time to answer within them.
    """
    first, a_token = None if pace is None else pace.first_content, (pace or _UNKNOWN).a_token
    silence = max(LEAST, min(UNKNOWN if first is None else FACTOR * first, left))
    if tokens:
        silence = max(LEAST_WHOLE, silence + FACTOR * tokens * a_token)
    if first is None or stays == math.inf:
        return silence
    usual = first + tokens * a_token
    return min(silence, max(LEAST, SLOW * usual, stays - usual))


def may_hedge_to(deployment: Deployment, price: float, hedge: Hedge) -> bool:
    """
    Whether *deployment*, whose dearest bucket has that *price* for the request, may be the second one that is asked.

    Never the last resort: it would mostly begin first, and a slow answer is better than a poor one. Money that a credit
    pays is not plentiful at any price.
    """
    if deployment.last_resort or hedge == "off":
        return False
    if hedge == "always" or deployment.proof.kind == "local":
        return True
    return price < DEAR and deployment.proof.kind != "credit"
