"""Which tests of which package are run, what is arranged for them, and which do not pass and why."""

from __future__ import annotations

import importlib
import re

from msgspec import Struct


class Suite(Struct, frozen=True, kw_only=True):
    """
    The suite in the sdist of *package*: its *files*, and of these the tests that *chosen* names, as pytest's ``-k`` has it;
    *short* are those that a quick run is content with. *base* follows the gateway's address. *plugin* is a module of this
    folder. *aliases* are models that are named without the field's name. *responses* and *chats* are ids of stored responses and
    chat completions that are there. *not_passed* are patterns of the names of the tests that do not pass, and why.
    """

    package: str
    files: tuple[str, ...]
    chosen: str
    short: str
    base: str
    plugin: str
    aliases: tuple[str, ...] = ()
    responses: tuple[str, ...] = ()
    chats: tuple[str, ...] = ()
    not_passed: dict[str, str] = {}

    @property
    def version(self) -> str:
        """That of the package that is installed."""
        return str(importlib.import_module(self.package).__version__)

    def reason(self, name: str) -> str | None:
        """Why the test *name* does not pass, if that is known."""
        return next((why for pattern, why in self.not_passed.items() if re.match(pattern, name)), None)


SUITES = {
    "openai": Suite(
        package="openai",
        files=(
            "test_completions.py",
            "test_embeddings.py",
            "test_models.py",
            "test_responses.py",
            "chat/test_completions.py",
            "chat/completions/test_messages.py",
            "responses/test_input_items.py",
            "audio/test_transcriptions.py",
            "audio/test_translations.py",
            "test_images.py",  # not audio/test_speech.py, which answers itself
            "test_moderations.py",
        ),
        chosen="(create or list or retrieve or generate) and not variation",  # of pictures, which none makes of others
        short="strict and not Async and (create_overload or method_list or method_retrieve or (embeddings and create))",
        base="/v1",
        plugin="completed_calls",
        chats=("completion_id",),
        responses=("previous_response_id", "response_id", "resp_677efb5139a88190b512bc3fef8e535d"),
        not_passed={
            r"test_images\..*generate_with_all_params": "it asks for an address, and no picture is kept here that could have one",
            r"test_embeddings\..*_create\[(strict|aiohttp)\]": "it asks for base64, and checks for numbers before it decodes them",
            r"test_completions\..*create_with_all_params": "it sends logprobs, which no free source has for a bare prompt",
        },
    ),
    "anthropic": Suite(
        package="anthropic",
        files=("test_messages.py", "test_models.py", "beta/test_messages.py", "beta/test_models.py"),
        chosen="create or count_tokens or list or retrieve",
        short="strict and not Async and method",
        base="",
        plugin="without_snapshots",
        aliases=("model_id",),
    ),
}
