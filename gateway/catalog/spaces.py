"""
Whose vectors fit together. Two models of one name need not be one: a host may serve other weights, or other settings.

So each host is asked for the vectors of some fixed texts, along with the first request that it serves, and again once its
listing has changed. What they look like in a model's space is what its first host said. A host whose vectors look otherwise
is shut out: nothing that was indexed with the one may be searched with the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from msgspec import Struct

from gateway.state.store import StateStore
from gateway.words import Deployment
from providers.embeddings import CONTROLS, Embeddings, EmbedRequest, likeness
from providers.failures import OtherWeights, Unsupported

ALIKE = 0.98
"""Cosine. Hosts of the same weights differ by rounding: 0.999 and more; those of another model are far below."""

_SPACES, _HOSTS, _CHOICES = "vector space", "vector host", "vector choice"


class Space(Struct, frozen=True):
    """What the control texts look like in the space of a model, and which deployment said so first."""

    vectors: tuple[bytes, ...]
    first: str


class Host(Struct, frozen=True):
    """A deployment whose vectors were compared, as it was listed then: how much alike they are at least."""

    listing: str
    alike: float


class Spaces:
    """What is known, here and by the others who share the state."""

    def __init__(self, state: StateStore) -> None:
        self._state = state
        self._spaces: dict[str, Space] = {}
        self._hosts: dict[str, Host] = {}
        self._choices: dict[str, str] = {}
        state.watch(_SPACES, Space, self._spaces_heard)
        state.watch(_HOSTS, Host, self._hosts_heard)
        state.watch(_CHOICES, str, self._choices_heard)

    # ── which model ──

    def chosen(self, client: str, deployments: Iterable[Deployment]) -> str:
        """
        The model that *client* means who names none: the one that it was given first, whether it is served now or not. At
        first that is the one that most of *deployments* serve, some of which embed.
        """
        known = self._choices.get(client)
        if known is not None:
            return known
        hosts = Counter(d.model for d in deployments if "embed" in d.operations)
        model = min(hosts, key=lambda name: (-hosts[name], name))
        self.choose(client, model)
        return model

    def choice(self, client: str) -> str | None:
        """The model that *client* means; None: it has none yet."""
        return self._choices.get(client)

    def choose(self, client: str, model: str | None) -> None:
        """From now on *client* means *model*, or, if None, what it is given next."""
        if model is None:
            self._choices.pop(client, None)
        else:
            self._choices[client] = model
        self._state.set(_CHOICES, client, model)

    # ── which hosts ──

    def compared(self, deployment: Deployment) -> bool:
        """Whether the vectors of *deployment* are known to fit, as it is listed now."""
        known = self._hosts.get(deployment.name)
        return known is not None and known.listing == _listing(deployment)

    def controlled(self, deployment: Deployment, request: EmbedRequest) -> EmbedRequest:
        """
        *request* as *deployment* gets it: with the control texts, where its vectors were not compared yet.

        Raises Unsupported for token numbers then, with which no text can be sent.
        """
        if request.controlled or self.compared(deployment):
            return request
        if not request.prompts:
            failure = Unsupported("its vectors were not compared yet, which takes a text")
            failure.reached = "unsent"
            raise failure
        return request.with_controls()

    def verify(self, deployment: Deployment, request: EmbedRequest, found: Embeddings) -> Embeddings:
        """
        *found* without the vectors of the control texts that *request* had, if it had any.

        Raises OtherWeights if these show that *deployment* serves another model than the name says.
        """
        if not request.controlled:
            return found
        controls = tuple(found.vectors[-len(CONTROLS) :])
        of = f"{deployment.model} {request.view.dimensions or ''}".strip()
        space = self._spaces.get(of)
        if space is None:
            space = self._spaces[of] = Space(controls, deployment.name)
            self._state.set(_SPACES, of, space)
        alike = min(map(likeness, controls, space.vectors))
        if alike < ALIKE:
            self._state.set(_HOSTS, deployment.name, None)
            self._hosts.pop(deployment.name, None)
            raise OtherWeights(
                f"its vectors do not fit to those of {space.first}, which serves {deployment.model}, too: they are alike by "
                f"{alike:.3f}, where {ALIKE} is the least"
            )
        host = self._hosts[deployment.name] = Host(_listing(deployment), alike)
        self._state.set(_HOSTS, deployment.name, host)
        return Embeddings(found.vectors[: -len(CONTROLS)], found.model, found.usage)

    def _spaces_heard(self, heard: dict[str, Space]) -> None:
        self._spaces = heard

    def _hosts_heard(self, heard: dict[str, Host]) -> None:
        self._hosts = heard

    def _choices_heard(self, heard: dict[str, str]) -> None:
        self._choices = heard


def _listing(deployment: Deployment) -> str:
    return f"{deployment.target.model} {deployment.context or ''} {deployment.released or ''}".strip()
