"""What Google's dialect reads and writes, from payloads on record: answers, streams, tools, refusals, lists."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gateway.catalog.proof import prove
from gateway.quota.configured import buckets_of
from providers import failures as f
from providers.chat import Completion, Step, Usage, decode_fields, decode_request, encode
from providers.dialect import Account, HttpResponse, Listed, Listing, Request, Target
from providers.dialects.google.dialect import Google
from providers.dialects.google.request import NO_SIGNATURE
from providers.sse import ServerSentEvents
from tests.failures import told
from tests.payloads import SPECS, account, answer, body

DIALECT = Google()
FLASH = "gemini-3.5-flash"
THINKS = frozenset({"reasoning"})
PIXEL = "data:image/png;base64,iVBORw0KGgo="
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather",
        "parameters": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


def target(model: str = FLASH, capabilities: frozenset[str] = frozenset()) -> Target:
    return Target(account("google"), model, capabilities)


def asked(**fields: Any) -> Request:
    content = msgspec.json.encode({"messages": [{"role": "user", "content": "hi"}], **fields})
    return Request(decode_request(content), decode_fields(content))


def built(model: str = FLASH, capabilities: frozenset[str] = frozenset(), /, **fields: Any) -> Any:
    """The body of the call that asks for *fields*."""
    return msgspec.json.decode(DIALECT.build(target(model, capabilities), asked(**fields)).body or b"")


def config(*known: Any, **fields: Any) -> Any:
    return built(*known, **fields).get("generationConfig", {})


def read(name: str) -> Completion:
    """The answer in the payload *name*; what is sent on says the same."""
    whole = DIALECT.read(target(), asked(), body(f"google/{name}"))
    assert msgspec.json.decode(whole.data, type=Completion) == whole.completion
    return whole.completion


def streamed(content: bytes) -> list[Step]:
    reader, framing = DIALECT.reader(target(), asked()), ServerSentEvents()
    steps = [step for event in (*framing.feed(content), *framing.end()) for step in reader.feed(event)]
    assert reader.finished()
    for step in steps:
        sent_on = msgspec.json.decode(step.data)
        assert sent_on["object"] == "chat.completion.chunk"
        assert isinstance(sent_on["choices"], list)
        assert sent_on["model"] == step.chunk.model == FLASH
    return steps


def event(*parts: dict[str, Any], **candidate: Any) -> bytes:
    return encode({"candidates": [{"content": {"role": "model", "parts": parts}, **candidate}], "responseId": "r"})


class TestARequest:
    def test_is_the_one_on_record(self):
        call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Oslo"}'}}
        call["extra_content"] = {"google": {"thought_signature": "c2lnbmF0dXJl"}}

        found = built(
            FLASH,
            THINKS,
            messages=[
                {"role": "system", "content": "Be brief."},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "Weather in Oslo?"},
                        {"type": "image_url", "image_url": {"url": PIXEL}},
                    ],
                },
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c1", "content": "3 degrees"},
            ],
            tools=[WEATHER],
            tool_choice="auto",
            temperature=1.0,
            top_p=0.95,
            max_tokens=1024,
            stop="END",
            reasoning_effort="low",
        )

        recorded = msgspec.json.decode(body("google/gemini_request.json"))
        del recorded["generationConfig"]["responseMimeType"]  # plain text, as without it
        assert found == recorded

    def test_names_the_model_in_its_address_and_the_key_in_its_header_only(self):
        call = DIALECT.build(target("a/b"), asked())
        stream = DIALECT.build(target(), asked(stream=True))

        assert call.url == "https://generativelanguage.googleapis.com/v1beta/models/a%2Fb:generateContent"
        assert stream.url.endswith(f"/models/{FLASH}:streamGenerateContent?alt=sse")
        assert call.headers == {"content-type": "application/json", "x-goog-api-key": "key"}
        assert "key" not in repr(call)

    def test_has_turns_that_alternate_and_none_that_is_empty(self):
        contents = built(
            messages=[
                {"role": "user", "content": "a"},
                {"role": "user", "content": [{"type": "text", "text": "b"}]},
                {"role": "assistant", "content": ""},
                {"role": "assistant", "content": []},
                {"role": "assistant", "content": "c"},
                {"role": "assistant", "content": None},
                {"role": "user", "content": ""},
            ]
        )["contents"]

        assert contents == [
            {"role": "user", "parts": [{"text": "a"}, {"text": "b"}]},
            {"role": "model", "parts": [{"text": "c"}]},
            {"role": "user", "parts": [{"text": " "}]},  # whose turn it is stays the same
        ]

    @pytest.mark.parametrize("first", [[], [{"role": "user", "content": ""}], [{"role": "system", "content": "Go."}]])
    def test_begins_with_the_user(self, first: list[Any]):
        """A call must come after a turn of the user's (continuedev/continue#11164)."""
        call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
        history = [
            *first,
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "3"},
        ]

        assert [turn["role"] for turn in built(messages=history)["contents"]] == ["user", "model", "user"]

    def test_gathers_instructions_from_wherever_they_stand(self):
        found = built(
            messages=[
                {"role": "developer", "content": "one"},
                {"role": "user", "content": "hi"},
                {"role": "system", "content": [{"type": "text", "text": "two"}]},
            ]
        )

        assert found["systemInstruction"] == {"parts": [{"text": "one\n\ntwo"}]}
        assert found["contents"] == [{"role": "user", "parts": [{"text": "hi"}]}]

    def test_asks_what_it_instructs_where_nothing_else_is_asked(self):
        found = built(messages=[{"role": "system", "content": "Write a poem."}])

        assert found == {"contents": [{"role": "user", "parts": [{"text": "Write a poem."}]}]}

    def test_instructs_in_the_first_turn_a_model_that_takes_no_instruction(self):
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]

        found = built("gemma-3-27b-it", messages=messages)

        assert found == {"contents": [{"role": "user", "parts": [{"text": "Be brief."}, {"text": "hi"}]}]}

    def test_carries_images_and_sound_inline(self):
        parts = built(
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": "data:image/jpeg;base64,AAAA"},
                        {"type": "input_audio", "input_audio": {"data": "BBBB", "format": "mp3"}},
                    ],
                }
            ]
        )["contents"][0]["parts"]

        assert parts == [
            {"inlineData": {"mimeType": "image/jpeg", "data": "AAAA"}},
            {"inlineData": {"mimeType": "audio/mp3", "data": "BBBB"}},
        ]

    @pytest.mark.parametrize(
        "part",
        [
            {"type": "image_url", "image_url": {"url": "http://acme.example/cat.png"}},
            {"type": "file"},
            {"type": "video_url"},
        ],
    )
    def test_fetches_nothing_and_says_what_it_cannot_carry(self, part: dict[str, Any]):
        with pytest.raises(f.Unsupported) as caught:
            built(messages=[{"role": "user", "content": [part]}])

        assert caught.value.capability == part["type"]

    def test_has_google_fetch_what_is_at_a_public_address(self):
        content = [
            {"type": "image_url", "image_url": {"url": "https://acme.example/cat.png?size=2"}},
            {"type": "file", "file": {"file_data": "https://acme.example/report.pdf"}},
            {"type": "video_url", "video_url": {"url": "https://acme.example/film"}},
            {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}},
        ]

        assert built(messages=[{"role": "user", "content": content}])["contents"][0]["parts"] == [
            {"fileData": {"fileUri": "https://acme.example/cat.png?size=2", "mimeType": "image/png"}},
            {"fileData": {"fileUri": "https://acme.example/report.pdf", "mimeType": "application/pdf"}},
            {"fileData": {"fileUri": "https://acme.example/film"}},
            {"inlineData": {"mimeType": "video/mp4", "data": "AAAA"}},
        ]

    @pytest.mark.parametrize("url", ["data:image/png;base64", "data:image/png;base64,%%%"])
    def test_with_an_image_that_cannot_be_read_is_the_callers_fault(self, url: str):
        with pytest.raises(f.CallersFault):
            built(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}])

    def test_spells_the_wishes_for_the_answer(self):
        assert config(
            max_completion_tokens=7, max_tokens=9, seed=2**40 + 5, stop=["a", "b"], n=2, top_k=3,
            presence_penalty=0.5, frequency_penalty=0.25,
        ) == {
            "maxOutputTokens": 7, "seed": 5, "stopSequences": ["a", "b"], "topK": 3,
            "presencePenalty": 0.5, "frequencyPenalty": 0.25,
        }  # fmt: skip

    def test_without_wishes_has_none(self):
        assert "generationConfig" not in built()

    def test_for_json_says_which(self):
        schema = {"$schema": "x", "type": "object", "properties": {"a": {"type": "integer"}}}
        wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True}}

        assert config(response_format={"type": "text"}) == {}
        assert config(response_format={"type": "json_object"}) == {"responseMimeType": "application/json"}
        assert config(response_format=wanted) == {
            "responseMimeType": "application/json",
            "responseJsonSchema": {"type": "object", "properties": {"a": {"type": "integer"}}},
        }

    @pytest.mark.parametrize(
        ("model", "effort", "thinking"),
        [
            (FLASH, None, {"includeThoughts": True}),
            (FLASH, "none", {"includeThoughts": True, "thinkingLevel": "MINIMAL"}),
            (FLASH, "high", {"includeThoughts": True, "thinkingLevel": "HIGH"}),
            (FLASH, "odd", {"includeThoughts": True}),
            ("gemini-2.5-flash", "none", {"includeThoughts": False, "thinkingBudget": 0}),
            ("gemini-2.5-flash", "medium", {"includeThoughts": True, "thinkingBudget": 8192}),
        ],
    )
    def test_asks_a_model_that_thinks_for_its_thoughts(self, model: str, effort: str | None, thinking: Any):
        assert config(model, THINKS, reasoning_effort=effort) == {"thinkingConfig": thinking}
        assert config(model, reasoning_effort=effort) == {}

    @pytest.mark.parametrize(
        ("choice", "spelled"),
        [
            ("none", {"mode": "NONE"}),
            ("auto", {"mode": "AUTO"}),
            ("required", {"mode": "ANY"}),
            (
                {"type": "function", "function": {"name": "get_weather"}},
                {"mode": "ANY", "allowedFunctionNames": ["get_weather"]},
            ),
        ],
    )
    def test_says_which_tool_must_be_called(self, choice: Any, spelled: Any):
        assert built(tools=[WEATHER], tool_choice=choice)["toolConfig"] == {"functionCallingConfig": spelled}
        assert "toolConfig" not in built(tool_choice=choice)

    def test_leaves_out_a_schema_that_says_nothing(self):
        tool = {"type": "function", "function": {"name": "now", "parameters": {}}}

        assert built(tools=[tool])["tools"] == [{"functionDeclarations": [{"name": "now"}]}]


class TestAConversationWithTools:
    def replayed(self, calls: list[Any], *results: Any, model: str = FLASH) -> list[Any]:
        found = built(
            model,
            messages=[
                {"role": "user", "content": "Weather?"},
                {"role": "assistant", "content": None, "tool_calls": calls},
                *results,
            ],
            tools=[WEATHER],
        )
        contents: list[Any] = found["contents"]
        return contents

    def call(self, call_id: str = "c1", arguments: str = "{}") -> dict[str, Any]:
        return {"id": call_id, "type": "function", "function": {"name": "get_weather", "arguments": arguments}}

    def test_goes_back_with_the_signature_it_came_with(self):
        message = msgspec.json.decode(DIALECT.read(target(), asked(), body("google/gemini_generate_tools.json")).data)
        call = message["choices"][0]["message"]["tool_calls"][0]

        _, model, user = self.replayed(
            message["choices"][0]["message"]["tool_calls"],
            {"role": "tool", "tool_call_id": call["id"], "content": "mild"},
        )

        assert model["parts"] == [
            {
                "functionCall": {"id": call["id"], "name": "get_weather", "args": {"city": "Oslo"}},
                "thoughtSignature": "c2lnMg==",
            }
        ]
        assert user["parts"] == [
            {"functionResponse": {"id": call["id"], "name": "get_weather", "response": {"output": "mild"}}}
        ]

    def test_goes_back_from_a_stream_too(self):
        calls = []
        for step in streamed(body("google/gemini_stream_tools.sse")):
            for choice in msgspec.json.decode(step.data)["choices"]:
                calls += choice["delta"].get("tool_calls", ())

        parts = self.replayed(calls)[1]["parts"]

        assert [part.get("thoughtSignature") for part in parts] == ["c2lnNA==", None]
        assert [part["functionCall"]["args"] for part in parts] == [{"city": "Oslo"}, {"city": "Rome"}]

    def test_that_another_model_began_has_the_documented_signature_in_its_first_call_only(self):
        parts = self.replayed([self.call("a"), self.call("b")])[1]["parts"]

        assert [part.get("thoughtSignature") for part in parts] == [NO_SIGNATURE, None]

    @pytest.mark.parametrize("model", ["gemini-2.5-flash", "gemma-4-31b-it"])
    def test_has_no_signature_where_none_is_wanted(self, model: str):
        assert "thoughtSignature" not in self.replayed([self.call()], model=model)[1]["parts"][0]

    def test_answers_all_calls_in_one_turn(self):
        contents = self.replayed(
            [self.call("a"), self.call("b")],
            {"role": "tool", "tool_call_id": "b", "content": '{"temp": 20}'},
            {"role": "tool", "tool_call_id": "a", "content": "[1]"},
        )

        assert [(p["functionResponse"]["id"], p["functionResponse"]["response"]) for p in contents[2]["parts"]] == [
            ("b", {"output": '{"temp": 20}'}),
            ("a", {"output": "[1]"}),
        ]

    @pytest.mark.parametrize(
        ("arguments", "args"), [("", {}), ("[1]", {"arguments": [1]}), ("{broken", {"arguments": "{broken"})]
    )
    def test_replays_whatever_a_model_wrote_as_an_object(self, arguments: str, args: Any):
        assert self.replayed([self.call(arguments=arguments)])[1]["parts"][0]["functionCall"]["args"] == args

    def test_with_an_answer_to_no_call_is_the_callers_fault(self):
        with pytest.raises(f.CallersFault):
            self.replayed([self.call()], {"role": "tool", "tool_call_id": "other", "content": "x"})


class TestAnAnswer:
    def test_has_thoughts_apart_from_what_is_said(self):
        found = read("gemini_generate.json")

        assert (found.id, found.model, found.created) == ("r-abc123", FLASH, 0)
        assert found.choices[0].message.content == "Hello there."
        assert found.choices[0].message.reasoning_content == "Considering the greeting."
        assert found.choices[0].finish_reason == "stop"

    def test_counts_thoughts_as_output(self):
        usage = read("gemini_generate.json").usage

        assert usage is not None
        assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (12, 48, 60)
        assert usage.completion_tokens_details is not None
        assert usage.completion_tokens_details.reasoning_tokens == 40

    def test_with_calls_finishes_with_them(self):
        (choice,) = read("gemini_generate_tools.json").choices
        (call,) = choice.message.tool_calls or []

        assert choice.finish_reason == "tool_calls"
        assert choice.message.content is None
        assert (call.function.name, call.function.arguments) == ("get_weather", '{"city":"Oslo"}')
        assert call.extra_content == {"google": {"thought_signature": "c2lnMg=="}}
        assert call.id == read("gemini_generate_tools.json").choices[0].message.tool_calls[0].id != ""  # type: ignore[index]

    def test_keeps_the_id_that_a_call_has(self):
        content = event({"functionCall": {"id": "fc-1a2b3c4d", "name": "now", "args": None}}, finishReason="STOP")
        (call,) = DIALECT.read(target(), asked(), content).completion.choices[0].message.tool_calls or []

        assert (call.id, call.function.arguments) == ("fc-1a2b3c4d", "{}")

    def test_that_was_cut_says_so(self):
        found = DIALECT.read(target(), asked(), event({"text": "Hel"}, finishReason="MAX_TOKENS"))

        assert found.completion.choices[0].finish_reason == "length"

    def test_that_was_filtered_says_so_if_anything_was_said(self):
        found = DIALECT.read(target(), asked(), event({"text": "Hel"}, finishReason="SAFETY"))

        assert found.completion.choices[0].finish_reason == "content_filter"

    def test_that_was_filtered_whole_is_a_refusal(self):
        with pytest.raises(f.ContentRefused):
            read("gemini_generate_safety.json")

    def test_to_a_blocked_prompt_is_a_refusal(self):
        blocked = b'{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"},"usageMetadata":{"promptTokenCount":3}}'

        with pytest.raises(f.ContentRefused):
            DIALECT.read(target(), asked(), blocked)
        with pytest.raises(f.ContentRefused):
            DIALECT.reader(target(), asked()).feed(blocked)

    @pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MALFORMED_RESPONSE"])
    def test_that_the_model_could_not_form_is_none(self, reason: str):
        with pytest.raises(f.NoAnswer, match=reason):
            DIALECT.read(target(), asked(), event(finishReason=reason))
        with pytest.raises(f.NoAnswer, match=reason):
            DIALECT.reader(target(), asked()).feed(event(finishReason=reason))

    @pytest.mark.parametrize("content", [b"", b"<html>", b"{}", b"[]", b'{"candidates":"no"}', b'{"candidates":[]}'])
    def test_that_is_none_of_theirs_is_none(self, content: bytes):
        with pytest.raises((f.Unreachable, f.NoAnswer)):
            DIALECT.read(target(), asked(), content)

    @pytest.mark.parametrize("wrapped", ["%s", "[%s]"])
    def test_may_be_an_error_of_status_200(self, wrapped: str):
        content = (wrapped % '{"error":{"code":503,"message":"overloaded","status":"UNAVAILABLE"}}').encode()

        with pytest.raises(f.Busy):
            DIALECT.read(target(), asked(), content)
        with pytest.raises(f.Busy):
            DIALECT.reader(target(), asked()).feed(content)


class TestAStream:
    def test_says_in_pieces_what_the_answer_says(self):
        steps = streamed(body("google/gemini_stream.sse"))
        deltas = [choice.delta for step in steps for choice in step.chunk.choices]

        assert "".join(delta.reasoning_content or "" for delta in deltas) == "Thinking about it."
        assert "".join(delta.content or "" for delta in deltas) == "Hello there."
        assert [delta.role for delta in deltas] == ["assistant", None, None, None]

    def test_counts_once_at_its_end(self):
        *before, finish, last = streamed(body("google/gemini_stream.sse"))

        assert all(step.chunk.usage is None for step in (*before, finish))
        assert finish.chunk.choices[0].finish_reason == "stop"
        assert msgspec.json.decode(last.data)["choices"] == []
        assert last.chunk.usage == read("gemini_generate.json").usage
        assert isinstance(last.chunk.usage, Usage)

    def test_has_a_place_and_an_id_of_its_own_for_each_call(self):
        steps = streamed(body("google/gemini_stream_tools.sse"))
        calls = [call for step in steps for choice in step.chunk.choices for call in choice.delta.tool_calls or []]
        reasons = [choice.finish_reason for step in steps for choice in step.chunk.choices]

        assert [call.index for call in calls] == [0, 1]
        assert len({call.id for call in calls}) == 2
        assert [call.function.arguments for call in calls if call.function] == ['{"city":"Oslo"}', '{"city":"Rome"}']
        assert reasons == [None, None, "tool_calls"]

    def test_is_finished_when_every_candidate_is(self):
        reader = DIALECT.reader(target(), asked())

        reader.feed(event({"text": "a"}, index=0))
        reader.feed(event({"text": "b"}, index=1, finishReason="STOP"))
        assert not reader.finished()

        reader.feed(event(index=0, finishReason="STOP"))
        assert reader.finished()

    def test_filtered_after_something_was_said_ends_so(self):
        reader = DIALECT.reader(target(), asked())
        reader.feed(event({"text": "a"}))

        (step,) = reader.feed(event(finishReason="SAFETY"))

        assert step.chunk.choices[0].finish_reason == "content_filter"


def refused(message: str, status: int, code: str = "", **more: Any) -> f.ProviderFailure:
    content = encode({"error": {"code": status, "message": message, "status": code, **more}})
    return DIALECT.classify(account("google"), HttpResponse(status, {}, content))


class TestARefusal:
    @pytest.mark.parametrize(
        ("name", "expected", "account_wide"),
        [
            ("gemini_400_bad_key.json", f.CredentialRejected, True),
            ("gemini_400_thought_signature.json", f.RefusedHere, False),
            ("gemini_401_bearer_native.json", f.CredentialRejected, True),
            ("gemini_403.json", f.CredentialRejected, True),
            ("gemini_404.json", f.ModelGone, False),
            ("gemini_500.json", f.Unreachable, False),
            ("gemini_503.json", f.Busy, False),
        ],
    )
    def test_on_record_means_what_google_means(self, name: str, expected: type[Exception], account_wide: bool):
        failure = DIALECT.classify(account("google"), answer(f"google/{name}"))

        assert type(failure) is expected
        assert failure.account_wide is account_wide
        assert failure.message

    @pytest.mark.parametrize(
        ("name", "bucket", "retry_in"),
        [
            ("gemini_429_rpm.json", ("requests", "minute", 15.0), 9.10233),
            ("gemini_429_tpm.json", ("prompt", "minute", 250_000.0), 31.5),
            ("gemini_429_rpd.json", ("requests", "day", 20.0), None),
            ("gemini_compat_429_array.json", ("requests", "day", 20.0), None),
        ],
    )
    def test_names_the_quota_and_a_wait_only_if_it_is_true(self, name: str, bucket: Any, retry_in: float | None):
        failure = DIALECT.classify(account("google"), answer(f"google/{name}"))

        assert isinstance(failure, f.RateLimited)
        assert tuple(told(failure, ("unit", "window", "limit")).values()) == bucket
        assert failure.retry_in == retry_in
        assert not failure.account_wide

    def test_with_a_quota_of_nothing_is_no_quota(self):
        quota = {"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}
        details = [{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [quota]}]
        zero = "* Quota exceeded for metric: x/y, limit: 0, model: gemini-3.1-pro\nPlease retry in 34.2s."

        assert type(refused(zero, 429, details=details)) is f.NotEntitled
        quota["quotaValue"] = "0"
        assert type(refused("no", 429, details=details)) is f.NotEntitled
        assert type(refused(zero.replace(": 0", ": 20"), 429)) is f.RateLimited

    def test_of_a_quota_that_is_not_the_free_tiers_shows_that_there_is_billing(self):
        quota = {"quotaId": "GenerateRequestsPerMinutePerProjectPerModel", "quotaValue": "1000"}
        details = [{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [quota]}]
        failure = refused("Quota exceeded", 429, details=details)

        assert type(failure) is f.WouldCost
        assert failure.account_wide
        assert "billing" in failure.message

    def test_that_names_no_quota_has_the_wait_that_comes_with_it(self):
        details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "38.2s"}]

        assert refused("slow down", 429, details=details).retry_in == 38.2

    @pytest.mark.parametrize(
        ("message", "status", "expected", "account_wide"),
        [
            ("Your prepayment credits are depleted.", 429, f.WouldCost, True),
            ("User location is not supported for the API use.", 400, f.NotEntitled, True),
            ("The input token count (9) exceeds the maximum number of tokens allowed (8).", 400, f.ContextTooLong, False),
            ("Penalty is not enabled for this model", 400, f.RefusedHere, False),
            ("Deadline expired", 504, f.Busy, False),
            ("The model is overloaded.", 503, f.Busy, False),
            ("This model models/x is no longer available to new users.", 404, f.ModelGone, False),
            ("Invalid value", 400, f.RefusedHere, False),
        ],
    )  # fmt: skip
    def test_of_a_known_wording(self, message: str, status: int, expected: type[Exception], account_wide: bool):
        failure = refused(message, status)

        assert type(failure) is expected
        assert failure.account_wide is account_wide

    @pytest.mark.parametrize("details", [None, "x", [1], [{"@type": 1}], [{"@type": "google.rpc.QuotaFailure"}]])
    def test_with_details_that_are_none_is_one_still(self, details: Any):
        assert type(refused("used up", 429, details=details)) is f.RateLimited


def discovered(*pages: bytes) -> tuple[list[str], Listing]:
    """The addresses asked, and the list."""
    discovery, asked_for = DIALECT.discover(account("google")), []
    call = next(discovery)
    for page in pages:
        asked_for.append(call.url)
        try:
            call = discovery.send(HttpResponse(200, {}, page))
        except StopIteration as stop:
            return asked_for, stop.value
    raise AssertionError("more pages are wanted")


class TestTheList:
    def models(self) -> dict[str, Listed]:
        _, listing = discovered(body("google/gemini_models.json"), b'{"models":[]}')
        return {model.id: model for model in listing.models}

    def test_is_read_page_by_page(self):
        asked_for, listing = discovered(body("google/gemini_models.json"), b'{"models":[{"name":"models/last"}]}')

        base = SPECS["google"].base_url
        assert asked_for == [f"{base}/models?pageSize=1000", f"{base}/models?pageSize=1000&pageToken=CjAexample"]
        assert listing.models[-1].id == "last"

    def test_tells_sizes_and_who_chats(self):
        models = self.models()

        assert models[FLASH] == Listed(id=FLASH, operations=frozenset({"chat"}), context=1_048_576, max_output=65_536)
        assert models["gemini-embedding-001"].operations == frozenset({"embed"})

    def test_holds_what_is_free_and_what_is_not(self):
        free = {name for name, model in self.models().items() if prove(SPECS["google"], model, 0.0, 1.0)}

        assert free == {
            "gemini-3.8-flash", FLASH, "gemini-3.5-flash-lite", "gemini-3.1-flash-lite", "gemini-2.5-flash",
            "gemma-4-31b-it", "gemini-embedding-001", "gemini-3.1-flash-tts-preview",
        }  # fmt: skip

    @pytest.mark.parametrize(
        "name",
        ["gemini-4-argon", "gemini-pro-latest", "gemini-3-pro", "gemini-2.5-flash-image", "gemini-3.1-flash-live"],
    )
    def test_never_takes_a_paid_one_for_free(self, name: str):
        assert prove(SPECS["google"], Listed(id=name, operations=frozenset({"chat"})), 0.0, 1.0) is None

    @pytest.mark.parametrize(
        ("model", "limits"),
        [
            ("gemini-3.8-flash", {"minute": 5, "day": 20}),
            ("gemini-3-flash-preview", {"minute": 5, "day": 20}),
            ("gemini-3.1-flash-lite", {"minute": 15, "day": 500}),
            ("gemini-2.5-flash-lite", {"minute": 10, "day": 20}),
            ("gemma-4-31b-it", {"minute": 15, "day": 14_400}),
        ],
    )
    def test_has_a_quota_for_each(self, model: str, limits: dict[str, int]):
        buckets = buckets_of(SPECS["google"], model)

        assert {b.window_name: b.limit for b in buckets if b.unit == "requests"} == limits
        assert [b.window_name for b in buckets if b.unit == "prompt"] == ["minute"]

    def test_refused_is_a_failure(self):
        discovery = DIALECT.discover(account("google"))
        next(discovery)
        with pytest.raises(f.CredentialRejected):
            discovery.send(answer("google/gemini_400_bad_key.json"))

    def test_that_cannot_be_read_is_a_failure(self):
        discovery = DIALECT.discover(account("google"))
        next(discovery)
        with pytest.raises(f.Unreachable):
            discovery.send(HttpResponse(200, {}, b"<html>"))


def test_no_key_no_header():
    keyless = Target(Account(SPECS["google"], "http://127.0.0.1"), FLASH)

    assert "x-goog-api-key" not in DIALECT.build(keyless, asked()).headers
