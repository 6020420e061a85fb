"""The neutral request and answer of moderation: OpenAI's, as far as free sources go, which judge texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import msgspec
from msgspec import Struct

from providers.chat import Fields, Usage, summed
from providers.embeddings import tokens_of

CATEGORIES: Mapping[str, str] = {
    "harassment": "it insults, demeans or bullies a person",
    "harassment/threatening": "the same with a threat of violence or serious harm",
    "hate": "it promotes hatred of people for their race, gender, ethnicity, religion, nationality, orientation, disability or caste",
    "hate/threatening": "the same with a threat of violence or serious harm",
    "illicit": "it helps with a crime or another wrongdoing: fraud, theft, drugs, hacking",
    "illicit/violent": "the same with violence, or with getting a weapon",
    "self-harm": "it depicts or promotes suicide, self-injury or an eating disorder",
    "self-harm/intent": "its writer intends to harm themself",
    "self-harm/instructions": "it says how to harm oneself",
    "sexual": "it is meant to arouse, or offers sexual services; not education, medicine or wellness",
    "sexual/minors": "it is sexual content with someone under 18",
    "violence": "it depicts death, violence or physical injury",
    "violence/graphic": "the same in graphic detail",
}
"""OpenAI's categories, and what each says of a text."""


class ModerationPart(Struct, tag_field="type", tag="text"):
    """A text as a part of an input."""

    text: str


class ModerationPicture(Struct, tag_field="type", tag="image_url"):
    """A picture as a part of an input."""

    image_url: Any


class ModerationRequest(Struct, kw_only=True):
    """``POST /v1/moderations``. Parts are one input together, texts one each."""

    input: str | list[str | ModerationPart | ModerationPicture]
    model: str = "auto"

    def __post_init__(self) -> None:
        if not self.input:
            raise ValueError("input: expected a text or a list of texts, got none")
        if any(isinstance(one, ModerationPicture) for one in self.input):
            raise ValueError("input: no free source judges pictures: send texts")
        if len({isinstance(one, str) for one in self.input}) > 1:
            raise ValueError("input: expected texts or parts, got both")

    def texts(self) -> list[str]:
        """What is to be judged, each by itself."""
        if isinstance(self.input, str):
            return [self.input]
        parts = [one.text for one in self.input if isinstance(one, ModerationPart)]
        return ["\n".join(parts)] if parts else [one for one in self.input if isinstance(one, str)]


class ModerateRequest(Struct, frozen=True):
    """A request to judge *texts*, understood, and as it was spelled. *prompt_tokens* is an estimate."""

    operation: ClassVar[Literal["moderate"]] = "moderate"

    view: ModerationRequest
    fields: Fields
    texts: tuple[str, ...]
    prompt_tokens: int = 0
    output_tokens: int = 0  # where a model says what it thinks, its provider's file has how much that is

    @classmethod
    def of(cls, view: ModerationRequest, fields: Fields, texts: Sequence[str]) -> ModerateRequest:
        """The request for *texts* that is otherwise spelled as *view* and *fields*."""
        return cls(view, fields, tuple(texts), sum(map(tokens_of, texts)))

    @property
    def streams(self) -> bool:
        return False

    @property
    def prompts(self) -> list[str]:
        """The caller's own words, which must not be repeated in an error."""
        return list(self.texts)

    def first(self, count: int) -> ModerateRequest:
        """The request for the first *count* texts."""
        return self if count >= len(self.texts) else ModerateRequest.of(self.view, self.fields, self.texts[:count])

    def after(self, sent: ModerateRequest) -> ModerateRequest | None:
        """What is left once *sent*, the first of it, has been answered."""
        left = self.texts[len(sent.texts) :]
        return ModerateRequest.of(self.view, self.fields, left) if left else None


class Judged(Struct):
    """Of one text: the *score* of each category, 0 to 1, and which the source says it *breaks*."""

    scores: dict[str, float]
    breaks: frozenset[str]


class Judgements(Struct):
    """One for each text, in their order."""

    results: list[Judged]
    model: str = ""
    usage: Usage | None = None

    @classmethod
    def joined(cls, parts: Sequence[tuple[ModerateRequest, Judgements]]) -> Judgements:
        """Those of several requests, one after another."""
        made = [one for _, one in parts]
        results = [one for part in made for one in part.results]
        return cls(results, made[-1].model, summed(one.usage for one in made))


def judged(told: Mapping[str, float], broken: Iterable[str], means: Mapping[str, Sequence[str]]) -> Judged:
    """
    From a source's own categories to OpenAI's, which *means* says. Of several that mean the same the highest score counts; one
    that means nothing of OpenAI's (legal advice, say) is not told.
    """
    scores = dict.fromkeys(CATEGORIES, 0.0)
    for name, score in told.items():
        for category in means.get(name, ()):
            scores[category] = max(scores[category], min(1.0, max(0.0, score)))
    return Judged(scores, frozenset(category for name in broken for category in means.get(name, ())))


decode_moderation_request = msgspec.json.Decoder(ModerationRequest).decode
