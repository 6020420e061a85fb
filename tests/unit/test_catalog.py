"""What is free, by which name, and who may serve it."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.catalog.catalog import Catalog
from gateway.catalog.proof import prove
from gateway.events import Changed, Event
from gateway.request.plan import View, plan
from gateway.request.rejections import after
from gateway.request.tried import Tried
from gateway.routing.affinity import Sessions
from gateway.routing.calibration import Calibration
from gateway.words import NoSource, NotAllowed, NothingCapable, UnknownModel
from providers.dialect import Listed
from providers.spec import DataPolicy
from tests.calls import call
from tests.deployments import NOW, PROOF, catalog, deployment, unshared
from tests.payloads import SPECS

# ── free, or not ──


def listed(**prices) -> Listed:
    return Listed(id="acme/model", **prices)


def proved(provider: str, model: Listed):
    return prove(SPECS[provider], model, NOW, 100)


def test_only_prices_of_zero_prove_a_model_of_a_priced_list():
    assert proved("openrouter", listed(prompt_price=0.0, output_price=0.0))
    assert not proved("openrouter", listed(prompt_price=0.0))
    assert not proved("openrouter", listed(prompt_price=0.0, output_price=0.0, other_prices=True))


@given(st.floats(min_value=1e-12, max_value=1), st.floats(min_value=0, max_value=1))
def test_any_price_however_small_is_a_price(one, other):
    assert not proved("openrouter", listed(prompt_price=one, output_price=other))
    assert not proved("openrouter", listed(prompt_price=other, output_price=one))


def test_what_runs_elsewhere_is_not_local():
    assert proved("ollama", Listed(id="qwen3:8b"))
    assert not proved("ollama", Listed(id="gpt-oss:120b-cloud", runs_at="ollama.com"))


def test_a_proof_ends():
    proof = proved("openrouter", listed(prompt_price=0.0, output_price=0.0))

    assert proof.fresh(NOW + 99)
    assert not proof.fresh(NOW + 100)


# ── who may serve ──


def serving(made: Catalog, *asked: str, now=NOW, **wanted) -> set[str]:
    found = plan(call(*asked, **wanted), Tried(), view_of(made), now)
    if not found.ranked:
        raise after(call(*asked, **wanted), Tried(), spent=False, view=view_of(made), now=now)
    return {d.name for d in found.ranked}


def view_of(made: Catalog) -> View:
    return View(made, unshared(), lambda _: {}, Sessions(), Calibration())


A = deployment("groq/a", talents="tools")
B = deployment("google/b")


@pytest.mark.parametrize(
    ("asked", "who"),
    [
        ("auto", {"groq/a", "google/b"}),
        ("a", {"groq/a"}),
        ("groq/a", {"groq/a"}),
        ("auto:tools", {"groq/a"}),
        ("mine", {"groq/a"}),
        ("either", {"google/b"}),
    ],
)
def test_a_name_means_those_who_go_by_it(asked, who):
    assert serving(catalog(A, B), asked) == who


def test_a_name_that_nobody_has_is_unknown():
    with pytest.raises(UnknownModel, match="gpt-9"):
        serving(catalog(A, B), "gpt-9")


def test_who_lacks_something_is_left_out_and_named():
    with pytest.raises(NothingCapable, match=r"google/b.*lacks tools"):
        serving(catalog(B), capabilities=frozenset({"tools"}))


def test_what_a_deployment_turned_out_to_lack_is_remembered():
    made = catalog(A, B)
    made.learned.learn(A.name, "tools", NOW, has=False)

    with pytest.raises(NothingCapable):
        serving(made, capabilities=frozenset({"tools"}))


def test_who_is_withdrawn_is_out_until_then_and_it_is_no_fault_of_the_request():
    made = catalog(A)
    made.learned.withdraw("groq", NOW + 60, "key refused")

    with pytest.raises(NoSource, match="key refused") as caught:
        serving(made)
    assert caught.value.retry_after == 60
    assert serving(made, now=NOW + 60) == {"groq/a"}


def test_a_refusal_belongs_to_the_key_and_another_key_is_not_refused():
    """What is gone or costs money is so for every key."""
    learned = catalog(A, B).learned
    learned.belong({"groq": "wrong"})
    learned.withdraw("groq", NOW + 60, "key refused", refused="key")
    learned.withdraw("groq/a", NOW + 60, "not for this account", refused="model")
    learned.withdraw("groq/b", NOW + 60, "gone", gone=True)

    learned.belong({"groq": "right"})
    assert learned.out(NOW).keys() == {"groq/b"}
    learned.belong({"groq": "wrong"})
    assert learned.out(NOW).keys() == {"groq", "groq/a", "groq/b"}


def test_a_key_that_is_taken_again_is_let_in_at_once_and_nothing_else_is():
    learned, heard = catalog(A, B).learned, list[Event]()
    learned.belong({"groq": "key"})
    learned.withdraw("groq", NOW + 60, "key refused", refused="key")
    learned.withdraw("groq/a", NOW + 60, "not for this account", refused="model")

    learned.accept("groq", NOW, heard.append)
    learned.accept("groq", NOW, heard.append)
    assert learned.out(NOW).keys() == {"groq/a"}
    assert heard == [Changed("readmitted", "groq", "its key is taken again", NOW)]

    learned.withdraw("groq", NOW + 60, "it has cost money")
    learned.accept("groq", NOW, heard.append)
    assert "groq" in learned.out(NOW)


def test_an_old_proof_proves_nothing():
    expired = msgspec.structs.replace(PROOF, until=NOW)

    with pytest.raises(NoSource, match="proof"):
        serving(catalog(msgspec.structs.replace(A, proof=expired)))


def test_privacy_is_kept_and_unknown_counts_as_training():
    unknown, private = (
        deployment("groq/u"),
        msgspec.structs.replace(deployment("groq/p"), policy=DataPolicy(trains="no")),
    )

    assert serving(catalog(unknown, private), no_train=True) == {"groq/p"}


def test_only_and_ignore_are_kept():
    made = catalog(A, B)

    assert serving(made, only=("google",)) == {"google/b"}
    assert serving(made, ignore=("google",)) == {"groq/a"}


def test_a_request_longer_than_the_context_goes_elsewhere():
    short, long = (msgspec.structs.replace(d, context=size) for d, size in ((A, 100), (B, 10_000)))

    assert serving(catalog(short, long), prompt_tokens=5000) == {"google/b"}


# ── what the request and its client's key leave out ──


def first(made: Catalog, **wanted) -> str:
    return plan(call(**wanted), Tried(), view_of(made), NOW).ranked[0].name


def kinds(made: Catalog, **wanted) -> dict[str, str]:
    asked = call(**wanted)
    return {d.name: reason.kind for d, reason in made.exclusions(asked, asked.wants, NOW)}


DROPS = deployment("cohere/quick", 0.6)  # takes no parallel_tool_calls
TAKES = deployment("nvidia/slow", 0.5)


def test_who_takes_a_parameter_is_preferred_and_with_strictness_required():
    made = catalog(DROPS, TAKES)
    parameters = frozenset({"parallel_tool_calls"})

    assert first(made) == DROPS.name
    assert first(made, parameters=parameters) == TAKES.name
    assert serving(made, parameters=parameters) == {DROPS.name, TAKES.name}
    assert serving(made, parameters=parameters, strict=True) == {TAKES.name}
    assert kinds(made, parameters=parameters, strict=True) == {DROPS.name: "capability"}


def test_who_is_asked_to_reason_preferably_can():
    plain, thinker = deployment("groq/plain", 0.5), deployment("nvidia/thinker", 0.5, "reasoning")
    made = catalog(plain, thinker)

    assert first(made) == plain.name
    assert first(made, parameters=frozenset({"reasoning_effort"})) == thinker.name
    assert serving(made, parameters=frozenset({"reasoning_effort"}), strict=True) == {thinker.name}


def test_a_clients_key_may_allow_some_models_and_providers_only():
    made = catalog(A, B)

    assert serving(made, allowed_providers=("goo*",)) == {"google/b"}
    assert serving(made, allowed_models=("a",)) == {"groq/a"}
    assert kinds(made, allowed_models=("a",)) == {"google/b": "policy"}


def test_a_policy_that_leaves_nobody_is_named_as_what_is_in_the_way():
    with pytest.raises(NotAllowed, match=r"client's key") as caught:
        serving(catalog(A, B), allowed_providers=("nobody",))

    assert caught.value.status == 403


def test_a_policy_is_not_blamed_for_what_the_others_lack():
    with pytest.raises(NothingCapable, match="lacks vision"):
        serving(catalog(A, B), allowed_providers=("groq",), capabilities=frozenset({"vision"}))


def test_every_reason_has_its_kind():
    made = catalog(
        A,
        msgspec.structs.replace(deployment("groq/short"), context=5),
        msgspec.structs.replace(deployment("groq/old"), proof=msgspec.structs.replace(PROOF, until=NOW)),
        deployment("groq/out"),
        deployment("groq/able", talents="tools"),
        B,
    )
    made.learned.withdraw("groq/out", NOW + 60, "gone")

    assert kinds(made) == {"groq/short": "context", "groq/old": "proof", "groq/out": "withdrawn"}
    assert kinds(made, capabilities=frozenset({"tools"}))["google/b"] == "capability"
    assert kinds(made, ignore=("google",))["google/b"] == "choice"
    assert kinds(made, no_train=True)["groq/a"] == "privacy"
