"""Vectors and rankings: what holds of every provider that has them, through the real client, against its other half."""

from __future__ import annotations

import msgspec
import pytest

from providers import failures as f
from providers.chat import decode_fields
from providers.client import Reply
from providers.dialect import HttpResponse, OtherRequest, Target
from providers.embeddings import Embeddings, EmbedRequest, decode_embedding_request
from providers.operations import spoken
from providers.reranking import Ranking, RerankRequest, decode_ranking_request
from providers.simulator.base import SimulatedModel
from tests.contract.stage import Stage
from tests.payloads import SPECS, account

EMBED = ["cloudflare", "cohere", "google", "huggingface", "mistral", "nvidia", "ollama", "ovhcloud"]
RERANK = ["cloudflare", "cohere", "nvidia"]
CHOOSE = ["cloudflare", "google", "mistral", "nvidia", "ollama", "ovhcloud"]
"""Those that let a caller choose the number of dimensions."""

EMBEDDING = pytest.mark.parametrize("stage", EMBED, indirect=True)
RANKING = pytest.mark.parametrize("stage", RERANK, indirect=True)
FAULTS = pytest.mark.parametrize(
    ("fault", "expected"), [("bad_key", f.CredentialRejected), ("empty", f.NoAnswer), ("gone", f.ModelGone)]
)
DOCUMENTS = ["Paris is the capital of France", "Cats purr", "The capital of Norway is Oslo"]


async def asked(stage: Stage, model: SimulatedModel, request: OtherRequest) -> Reply:
    return await stage.provider.send(Target(stage.provider.account, model.id), request)


async def embedded(stage: Stage, model: str = "", **fields: object) -> Embeddings:
    found = next(one for one in stage.other.models if one.embedding and model in one.id)
    body = msgspec.json.encode({"model": "any", **fields})
    view = decode_embedding_request(body)
    reply = await asked(stage, found, EmbedRequest.of(view, decode_fields(body), view.items()))
    assert isinstance(reply.whole, Embeddings)
    return reply.whole


async def ranked(stage: Stage, **fields: object) -> Ranking:
    found = next(one for one in stage.other.models if one.does == "rerank")
    body = msgspec.json.encode({"query": "What is the capital of Norway", "documents": DOCUMENTS, **fields})
    reply = await asked(stage, found, RerankRequest.of(decode_ranking_request(body), decode_fields(body)))
    assert isinstance(reply.whole, Ranking)
    return reply.whole


# ── embeddings ──


@EMBEDDING
async def test_each_text_comes_back_as_a_vector(stage: Stage):
    found = await embedded(stage, input=["Oslo", "Rome", "Oslo"])
    oslo, rome, again = found.vectors

    assert oslo == again != rome
    assert found.usage is None or found.usage.prompt_tokens == 3


@pytest.mark.parametrize("stage", CHOOSE, indirect=True)
async def test_vectors_have_as_many_numbers_as_were_asked_for(stage: Stage):
    (vector,) = (await embedded(stage, input="Oslo", encoding_format="base64", dimensions=8)).vectors

    assert len(vector) == 8 * 4


@pytest.mark.parametrize("stage", sorted({*EMBED} - {*CHOOSE}), indirect=True)
async def test_a_number_of_dimensions_that_cannot_be_had_is_not_sent(stage: Stage):
    with pytest.raises(f.Unsupported) as caught:
        await embedded(stage, input="Oslo", dimensions=8)

    assert caught.value.reached == "unsent"


@EMBEDDING
@FAULTS
async def test_embeddings_that_fail_are_told_for_what_they_are(stage: Stage, fault: str, expected: type[Exception]):
    stage.other.fail(fault)
    if (stage.name, fault) in {("ollama", "bad_key"), ("ovhcloud", "bad_key")}:
        expected = f.NotEntitled  # Ollama's models in the cloud say so; without a key there is none to reject

    with pytest.raises(expected):
        await embedded(stage, input="Oslo")


@pytest.mark.parametrize("stage", ["google", "ollama", "huggingface"], indirect=True)
async def test_token_numbers_are_not_sent_where_only_texts_are_taken(stage: Stage):
    with pytest.raises(f.Unsupported) as caught:
        await embedded(stage, input=[[1, 2], [3]])

    assert caught.value.reached == "unsent"
    assert not stage.other.calls


@pytest.mark.parametrize("stage", ["nvidia", "huggingface", "cohere", "mistral", "cloudflare", "ollama"], indirect=True)
async def test_a_text_that_is_too_long_is_refused_and_never_cut(stage: Stage):
    with pytest.raises(f.ContextTooLong):
        await embedded(stage, input="word " * 200_000)


@pytest.mark.parametrize("stage", ["nvidia"], indirect=True)
@pytest.mark.parametrize(("said", "sent"), [(None, "query"), ("passage", "passage")])
async def test_nvidias_models_are_told_whether_it_is_a_question_or_a_passage(stage: Stage, said: str | None, sent: str):
    await embedded(stage, model="embedqa", input="Oslo", input_type=said)

    assert msgspec.json.decode(stage.other.calls[-1].body)["input_type"] == sent


@pytest.mark.parametrize("stage", ["huggingface"], indirect=True)
async def test_more_texts_than_a_request_takes_are_not_sent(stage: Stage):
    with pytest.raises(f.TooLarge):
        await embedded(stage, input=["a"] * 33)

    assert not stage.other.calls


@pytest.mark.parametrize("stage", ["huggingface"], indirect=True)
async def test_vectors_that_the_credit_no_longer_pays_are_refused_and_never_charged(stage: Stage):
    stage.other.meters["account/month"].take(1.0, stage.other.clock())

    with pytest.raises(f.WouldCost):
        await embedded(stage, input="Oslo")

    assert stage.other.charged == 0


# ── rankings ──


@RANKING
async def test_the_documents_that_answer_best_come_first(stage: Stage):
    found = (await ranked(stage, top_n=2)).results

    assert [one.index for one in found] == [2, 0]
    assert 1 >= found[0].relevance_score > found[1].relevance_score >= 0


@RANKING
@FAULTS
async def test_rankings_that_fail_are_told_for_what_they_are(stage: Stage, fault: str, expected: type[Exception]):
    stage.other.fail(fault)

    with pytest.raises(expected):
        await ranked(stage)


# ── what configuration says ──


def test_who_embeds_and_who_ranks_is_tried_here():
    assert {name for name, spec in SPECS.items() if "embed" in spec.operation} == {*EMBED}
    assert {name for name, spec in SPECS.items() if "rerank" in spec.operation} == {*RERANK}


def test_what_models_do_beside_chat_is_spelled_in_their_providers_file():
    marked = [(spec, one) for spec in SPECS.values() for fact in spec.models for one in fact.operations or ()]

    assert all(operation in spec.operation for spec, operation in marked if operation != "chat")


def test_where_another_address_stands_in_for_a_provider_all_is_asked_there():
    """A proxy, or a simulated provider: the key would go past it else."""
    spec = SPECS["nvidia"]

    assert spoken(spec, spec.base_url)["rerank"].at.startswith("https://ai.api.nvidia.com/")
    at = spoken(spec, "http://proxy:8080/nvidia/v1")["rerank"].at
    assert at == "http://proxy:8080/nvidia/v1/retrieval/{model}/reranking"


def test_an_answer_token_by_token_is_no_vector_of_a_text():
    target = Target(account("huggingface"), "BAAI/bge-m3")
    view = decode_embedding_request(b'{"input": "Oslo"}')
    codec = spoken(SPECS["huggingface"], target.account.base_url)["embed"]

    with pytest.raises(msgspec.ValidationError):
        codec.read(
            target, EmbedRequest.of(view, {}, view.items()), HttpResponse(200, {}, b"[[[0.1, 0.2], [0.3, 0.4]]]")
        )
