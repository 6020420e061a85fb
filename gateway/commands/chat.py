"""``freeway chat``: ask a running gateway from the terminal."""

from __future__ import annotations

from contextlib import ExitStack

import click
import httpx
import msgspec
from rich.console import Console

from gateway.cli import Surroundings
from gateway.commands.address import NoGateway, address
from providers.chat import Chunk
from providers.sse import ServerSentEvents

console = Console(highlight=False)
_TIMEOUT = httpx.Timeout(180, connect=5)


@click.command("chat")
@click.argument("question", nargs=-1)
@click.option(
    "--model", default="auto", show_default=True, help="A model, 'provider/model', or a virtual one like auto:smart."
)
@click.option("--gateway", metavar="URL", help="Its address. Else FREEWAY_GATEWAY, or the configuration's own.")
@click.option("--key", metavar="KEY", help="A client's key. Else FREEWAY_API_KEY; none for an open gateway.")
@click.pass_obj
def command(
    around: Surroundings, /, question: tuple[str, ...], model: str, gateway: str | None, key: str | None
) -> None:
    """
    Ask a running gateway.

    With a QUESTION, answer it and leave; without, talk until Ctrl-D.
    """
    where = address(around, gateway)
    key = (
        key
        or around.environ.get("FREEWAY_API_KEY", "").strip()
        or (None if where.named else around.settings().client_key)
    )
    headers = {"authorization": f"Bearer {key}"} if key else {}
    said: list[dict[str, str]] = []
    with httpx.Client(base_url=where.origin, headers=headers, timeout=_TIMEOUT) as client:
        if question:
            _ask(client, model, said, " ".join(question))
            return
        console.print("Ctrl-D ends.", style="dim")
        while True:
            try:
                words = console.input("[bold]you[/] ")
            except (EOFError, KeyboardInterrupt):
                console.print()
                return
            if words.strip():
                _ask(client, model, said, words)


def _ask(client: httpx.Client, model: str, said: list[dict[str, str]], words: str) -> None:
    """Ask, and print the answer as it comes; *said* grows by the turn."""
    said.append({"role": "user", "content": words})
    body = {"model": model, "messages": said, "stream": True}
    text = ""
    try:
        with ExitStack() as stack:
            with Console(stderr=True).status("waiting for the first word …"):
                response = stack.enter_context(client.stream("POST", "/v1/chat/completions", json=body))
            if response.status_code != 200:
                raise click.ClickException(_message(response.read()))
            text = _print(response)
            by = response.headers
    except httpx.ConnectError as exc:
        raise NoGateway(f"no gateway answers at {client.base_url}: start the gateway with `freeway serve`") from exc
    except httpx.HTTPError as exc:
        raise click.ClickException(f"the answer broke off: {type(exc).__name__}") from exc
    said.append({"role": "assistant", "content": text})
    console.print(f"\n{by.get('x-freeway-model', '?')} at {by.get('x-freeway-provider', '?')}", style="dim")


def _print(response: httpx.Response) -> str:
    text, events, thinking = "", ServerSentEvents(), False
    for piece in response.iter_bytes():
        for event in events.feed(piece):
            if event == b"[DONE]":
                continue
            if b'"error"' in event[:12]:
                raise click.ClickException(_message(event))
            for choice in msgspec.json.decode(event, type=Chunk).choices:
                if choice.delta.reasoning_content:
                    thinking = True
                    console.print(choice.delta.reasoning_content, end="", style="dim", markup=False)
                if choice.delta.content:
                    console.print(("\n" if thinking else "") + choice.delta.content, end="", markup=False)
                    thinking = False
                    text += choice.delta.content
    return text


def _message(body: bytes) -> str:
    try:
        return str(msgspec.json.decode(body)["error"]["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return body[:200].decode(errors="replace")
