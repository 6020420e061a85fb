"""What a caller is told who got no answer: why everybody was left out, and when to come back."""

from __future__ import annotations

from gateway.quota.nouns import NoRoom
from gateway.request.consequences import CONSEQUENCES
from gateway.request.engine import Attempt, Engine
from gateway.words import Deployment, Exclusion, GatewayError, NoCapacity, NoSource, NothingCapable, Requirements


def full(ranked: list[Deployment], no_room: NoRoom) -> list[Exclusion]:
    """Why *ranked* have no room, and when they do."""
    reasons = []
    for deployment, refusal in zip(ranked, no_room.refusals, strict=True):
        bucket, opens = refusal.bucket, refusal.opens_at
        if refusal.when_freed:
            reasons.append(Exclusion(deployment.name, "quota", f"all {bucket.limit:g} {bucket.key} are in use"))
        elif opens == float("inf"):
            reasons.append(Exclusion(deployment.name, "size", f"the request outgrows {bucket.limit:g} {bucket.key}"))
        else:
            used = f"{bucket.limit:g} {bucket.unit} a {bucket.window_name} are used"
            reasons.append(Exclusion(deployment.name, "quota", used, opens))
    return reasons


def given_up(
    needs: Requirements, attempts: list[Attempt], excluded: list[Exclusion], opens_at: float, engine: Engine
) -> GatewayError:
    """What the caller is told when nothing is left to try, or not soon enough."""
    if opens_at == float("inf"):
        if attempts:
            return in_vain(attempts, opens_at, engine)
        return NothingCapable(
            f"no free source has a quota for about {needs.prompt_tokens} tokens and an answer of {needs.output_tokens} "
            f"at once; bound the answer by max_tokens, send fewer tools or less text, or add another source's key",
            excluded=tuple(excluded),
        )
    reasons = _failed(attempts, engine)
    wait = _wait(opens_at, reasons, engine)
    kept = ", or keeps what it has left for shorter requests" if any(one.kind == "kept" for one in excluded) else ""
    return NoCapacity(
        f"every free source that fits is at its limit{kept}; the first opens in {wait:.0f} s",
        retry_after=wait,
        excluded=(*reasons, *excluded),
    )


def in_vain(attempts: list[Attempt], opens_at: float, engine: Engine) -> GatewayError:
    """What the caller is told when all *attempts* failed. Another may be worth it at *opens_at*, or when one has passed."""
    reasons = _failed(attempts, engine)
    last = CONSEQUENCES[type(attempts[-1].failure)].last
    if last is not None and all(CONSEQUENCES[type(a.failure)].last for a in attempts):
        return last(attempts[-1].failure.message, excluded=reasons)
    tried = "; ".join(f"{reason.deployment}: {reason.reason}" for reason in reasons)
    wait = _wait(opens_at, reasons, engine)
    return NoSource(
        f"every source that was tried failed ({tried})",
        retry_after=None if wait == float("inf") else wait,
        excluded=reasons,
    )


def _failed(attempts: list[Attempt], engine: Engine) -> tuple[Exclusion, ...]:
    """Who failed, and until when it is left alone if that passes by itself."""
    now, reasons = engine.clock.now(), []
    for one in attempts:
        name, why = one.deployment.name, f"{type(one.failure).__name__}: {one.failure.message}"
        passes = CONSEQUENCES[type(one.failure)].cools and not engine.catalog.experience.withdrawn(one.deployment, now)
        cooling = engine.health.blocked_until(name, now) if passes else None
        reasons.append(Exclusion(name, "failed", why, None if cooling is None else cooling[0]))
    return tuple(reasons)


def _wait(opens_at: float, reasons: tuple[Exclusion, ...], engine: Engine) -> float:
    """Seconds until the first of those who failed, or of the others, may be asked again."""
    moments = [opens_at, *(reason.until for reason in reasons if reason.until is not None)]
    return max(1.0, min(moments) - engine.clock.now())
