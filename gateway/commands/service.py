"""``freeway service``: have this machine start the gateway by itself, for this user: by systemd on Linux, by launchd on a Mac."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from xml.sax.saxutils import escape

import click
from msgspec import Struct

from gateway.cli import Surroundings

UNIT = """\
# Made by `freeway service install`. Keys and settings are read from {config}.
[Unit]
Description=Freeway: one API in front of every free source of language models
Documentation=https://pypi.org/project/freeway-gateway/
Wants=network-online.target
After=network-online.target

[Service]
ExecStart={command} serve
Restart=on-failure
RestartSec=5
# Unfinished answers may go on for 30 seconds.
TimeoutStopSec=40
KillMode=mixed
NoNewPrivileges=yes

[Install]
WantedBy=default.target
"""

LABEL = "dev.freeway.gateway"
PLIST = """\
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
  <key>Label</key><string>{label}</string>
  <key>ProgramArguments</key><array><string>{command}</string><string>serve</string></array>
  <key>RunAtLoad</key><true/>
  <key>KeepAlive</key><dict><key>SuccessfulExit</key><false/></dict>
  <key>ExitTimeOut</key><integer>40</integer>
  <key>StandardErrorPath</key><string>{log}</string>
  <key>StandardOutPath</key><string>{log}</string>
</dict>
</plist>
"""


class Service(Struct, frozen=True):
    """A *file*, what is in it, and the commands after it was written, and before it is taken away. *follow* shows its log."""

    file: Path
    text: str
    start: tuple[tuple[str, ...], ...]
    stop: tuple[tuple[str, ...], ...]
    follow: str
    remark: str = ""


def of_systemd(command: Path, home: Path, config: Path) -> Service:
    """A unit of this user's systemd. It runs while the user is logged in, and always with lingering."""
    quoted = '"' + str(command).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$") + '"'
    return Service(
        home / ".config" / "systemd" / "user" / "freeway.service",
        UNIT.format(command=quoted, config=config),
        (("systemctl", "--user", "daemon-reload"), ("systemctl", "--user", "enable", "--now", "freeway.service")),
        (("systemctl", "--user", "disable", "--now", "freeway.service"),),
        "journalctl --user -u freeway -f",
        "To have it run while nobody is logged in: sudo loginctl enable-linger $USER",
    )


def of_launchd(command: Path, home: Path, user: int) -> Service:
    """An agent of this user's launchd."""
    file, log = home / "Library" / "LaunchAgents" / f"{LABEL}.plist", home / "Library" / "Logs" / "freeway.log"
    return Service(
        file,
        PLIST.format(label=LABEL, command=escape(str(command)), log=escape(str(log))),
        (("launchctl", "bootstrap", f"gui/{user}", str(file)),),
        (("launchctl", "bootout", f"gui/{user}/{LABEL}"),),
        f"tail -f {log}",
    )


@click.group("service")
def command() -> None:
    """Have this machine start the gateway by itself, for this user."""


@command.command("install")
@click.option("--print", "only_print", is_flag=True, help="Print the file, and change nothing.")
@click.pass_obj
def install(around: Surroundings, only_print: bool) -> None:
    """Write the service and start it. It reads keys and settings from the same files as `freeway serve`."""
    from gateway.settings import folder_of  # noqa: PLC0415 - more than half of what starting takes; uninstall needs none

    around.settings()  # a mistake in them is told now, not in a log
    service = _service(around, folder_of(around.environ, around.home))
    if only_print:
        click.echo(service.text, nl=False)
        return
    service.file.parent.mkdir(parents=True, exist_ok=True)
    service.file.write_text(service.text)
    for each in service.start:
        _do(each)
    click.echo(f"{service.file} is installed and started. Its log: {service.follow}")
    if service.remark:
        click.echo(service.remark)
    click.echo("It knows nothing of this terminal's variables: what it needs of them belongs into the files it reads.")


@command.command("uninstall")
@click.pass_obj
def uninstall(around: Surroundings) -> None:
    """Stop the service and take it away. Keys, settings and the ledger stay."""
    service = _service(around, Path())
    if not service.file.exists():
        raise click.ClickException(f"no service is installed: {service.file} is not there")
    for each in service.stop:
        _do(each)
    service.file.unlink()
    click.echo(f"{service.file} is gone. Keys, settings and the ledger are where they were.")


def _service(around: Surroundings, config: Path) -> Service:
    program = _program()
    if sys.platform == "darwin":
        return of_launchd(program, around.home, os.getuid())
    if shutil.which("systemctl") is None:
        raise click.ClickException(
            "neither systemd nor launchd is here. The folder deploy/ of the source has files for Docker, Podman and others."
        )
    return of_systemd(program, around.home, config)


def _program() -> Path:
    """The command that was typed, where it really is."""
    found = shutil.which(sys.argv[0]) or sys.argv[0]
    return Path(found).absolute()


def _do(words: tuple[str, ...]) -> None:
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603 - a fixed program
    except OSError as exc:
        raise click.ClickException(f"`{' '.join(words)}`: {exc.strerror}") from exc
    if done.returncode:
        raise click.ClickException(f"`{' '.join(words)}` said: {(done.stderr or done.stdout).strip()}")
