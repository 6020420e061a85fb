"""``freeway key``: a key for a client."""

from __future__ import annotations

import secrets
from hashlib import sha256

import click


@click.command("key")
@click.argument("name")
def command(name: str) -> None:
    """
    Make a key for NAME.

    The key is shown once; what the gateway keeps is its hash. Put the printed lines into the file that FREEWAY_CONFIG
    names, and restart.
    """
    key = f"fw-{secrets.token_urlsafe(32)}"
    click.echo(f"Key for {name}, shown only now:\n\n  {key}\n\nFor your configuration file:\n")
    click.echo(f'[[client]]\nname = "{name}"\nkey_sha256 = "{sha256(key.encode()).hexdigest()}"')
