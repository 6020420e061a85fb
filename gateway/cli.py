"""``freeway``: the command line. The only reader of the environment."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from msgspec import Struct

import providers
from gateway import __version__
from gateway import shipped_config as shipped_config

if TYPE_CHECKING:
    from gateway.settings import BadSettings, Configured, Settings

_COMMANDS = {
    "serve": "Start the gateway with the keys and the Ollama that are found.",
    "setup": "Walk through the free sources, try keys and store them.",
    "config": "Check what is set, and show where each value comes from.",
    "demo": "Simulated providers, the gateway, and a policy that does not count beside it. Needs no key.",
    "check": "Look at every source: key, models, risk of cost, and what to do next.",
    "models": "List every model that is free for you now.",
    "model": "Fetch better weights for the model on this machine, and list them.",
    "changes": "Show what appeared, vanished, became paid, gained or lost something.",
    "explain": "Say which source would serve a prompt, and why no other one would.",
    "proof": "Verify the receipts: every call that left, why it was free, and what it cost.",
    "quota": "Show what is left today, and how much of every limit is used.",
    "health": "Ask a running gateway whether it lives, for health checks.",
    "chat": "Ask a running gateway from the terminal.",
    "connect": "Point a client program (OpenCode, Claude Code, aider, …) at the gateway, and take that back.",
    "usage": "What was used, by client, model, provider or day.",
    "clients": "Who may call: make, list, limit, rotate and revoke the keys of clients.",
    "service": "Have this machine start the gateway by itself: systemd or launchd.",
    "state": "Back up, restore and move the ledger and what was learned.",
}


class Surroundings(Struct, frozen=True):
    """What the commands know of the world outside: everything that they read of it comes from here."""

    environ: Mapping[str, str]
    config: Path
    home: Path
    here: Path
    flags: Mapping[str, str] = {}

    @property
    def cache(self) -> Path:
        """The folder for what can be fetched again, one for all state folders."""
        return Path(self.environ.get("XDG_CACHE_HOME") or self.home / ".cache") / "freeway"

    def read(self, source: Path | None = None) -> Configured:
        """
        The settings, and where each comes from, with the provider in the file *source* as the only one, if it is given. Raises
        BadSettings.
        """
        from gateway import settings  # noqa: PLC0415 - more than half of what starting takes, and `health` needs none

        return settings.read(self.config, self.environ, self.home, here=self.here, source=source, flags=self.flags)

    def settings(self, source: Path | None = None) -> Settings:
        """The settings alone, as ``read`` finds them."""
        return self.read(source).settings


class Commands(click.Group):
    """Imports a command when it is called: ``serve`` should not wait for what only ``demo`` needs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"gateway.commands.{cmd_name}")
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what turns out to be set wrongly only then is told in one sentence, too."""
        try:
            return super().invoke(ctx)
        except ValueError as exc:
            from gateway.settings import BadSettings  # noqa: PLC0415 - see Surroundings.settings

            if isinstance(exc, BadSettings):
                raise click.ClickException(_told(exc)) from exc
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


def _told(exc: BadSettings) -> str:
    """One mistake in a sentence, several as a list."""
    if len(exc.mistakes) == 1:
        return str(exc)
    return "\n".join((f"{len(exc.mistakes)} mistakes in what is set:", *(f"  {one}" for one in exc.mistakes)))


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Keys come from the environment, or from keys.env (`freeway config check` says where). `freeway check` names the pages that make them.",
)
@click.version_option(__version__, prog_name="freeway")
@click.pass_context
def freeway(ctx: click.Context) -> None:
    """Freeway: one OpenAI-compatible API in front of every free source of language models."""
    ctx.obj = Surroundings(os.environ, shipped_config(), Path.home(), Path.cwd())


def main() -> None:
    """The entry point. Another package called ``providers`` in the way would be imported silently: say so instead."""
    if Path(providers.__file__ or "").parents[1] != Path(__file__).parents[1]:
        sys.exit(f"freeway: another package called 'providers' is in the way: {providers.__file__}")
    # Imports and requests leave few cycles: looking for them is a sixth of what starting takes, and 5 % of a request's cost.
    gc.set_threshold(20_000, 50, 100)
    freeway()


def gateway() -> None:
    """The entry point ``freeway-gateway``, which `uvx freeway-gateway` runs: the same, but that it serves if nothing is said."""
    sys.argv[1:] = sys.argv[1:] or ["serve"]
    main()
