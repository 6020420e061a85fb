"""The reference of everything that can be set is made from the code: ``python -m tests.unit.test_configuration_page`` writes it."""

from __future__ import annotations

import ast
import inspect
import io
import textwrap
import tokenize
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec

from gateway import settings as s
from gateway.settings.shape import as_toml
from gateway.settings.values import OF_ENVIRONMENT
from gateway.settings.variables import OWN
from tests.conftest import CONFIG, ROOT

PAGE = ROOT / "docs" / "configuration.md"

INTRO = """\
# Configuration

Nothing has to be set but a key of one free source. This page is made from the code; it lists
every key and variable there is.

What is set in a later place goes before what is set in an earlier one:

| | place | what it may say |
|---|---|---|
| 1 | what is shipped (`config/`) | everything; do not change it, it is replaced with the next version |
| 2 | `~/.config/freeway/config.toml` | the tables below; `FREEWAY_CONFIG` names another file, `XDG_CONFIG_HOME` another folder |
| 3 | `~/.config/freeway/keys.env` | keys of sources, what belongs to them, `FREEWAY_API_KEY`, `FREEWAY_ADMIN_KEY`, `FREEWAY_KEYLESS`; mode 600 |
| 4 | `.env` in the folder in which Freeway is started | keys of sources and `FREEWAY_API_KEY`, and nothing else: a folder that came from elsewhere must not say where keys and prompts go |
| 5 | the environment | the variables below |
| 6 | the command line | what a command's `--help` names |

A table is merged key by key, a list is replaced. A byte order mark and Windows' line ends are fine.

`freeway config check` tells all mistakes at once, each with its file and line and what would be right. `freeway config show`
names what is set otherwise than it was shipped, and where it comes from (`--all`: everything; `--json`). Keys are never shown.

A gateway that runs takes in what changes in these files within a second, and on SIGHUP: keys, clients, sources, names, limits of
requests. Requests that have begun go on as they began. A file with mistakes changes nothing, and the log tells each. With the next
start only count `[server]` but for `origins`, `[responses]`, `[cache]`, `[ledger]`, `catalog.webhook`, `catalog.database`,
`catalog.probes`, and the variables of Redis, of the state folder and of the admin key; the log names those that were changed.
"""

LISTS: dict[str, tuple[str, type[msgspec.Struct]]] = {
    "client": ("[[client]]", s.Client),
    "virtual": ('[virtual."auto:…"]', s.Virtual),
    "model": ("[[model]]", s.ModelQuality),
}
ENTRIES = {
    "alias": (
        "[alias]",
        (
            "Names that callers may use, and what each stands for: a model, a virtual one, another alias, or a list, of which the "
            'first that is served counts. `"gpt-4o" = "auto:smart"`'
        ),
    ),
    "pattern": (
        "[pattern]",
        'The same by pattern, for names that are neither served nor known: the first that fits. `"gpt-5*" = "auto:smart"`',
    ),
    "provider": (
        "[provider.NAME]",
        (
            "Another value for a source that is shipped (`[provider.groq] enabled = false`), or a source of one's own: "
            "[every key](add-a-source.md)."
        ),
    ),
}
DATA = ("names", "not_free")
"""Shipped data about the world, which nobody needs to set."""


def comments(kind: type[msgspec.Struct]) -> dict[str, str]:
    """What stands behind the fields of *kind* in its source."""
    source = textwrap.dedent(inspect.getsource(kind))
    said = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    (body,) = ast.parse(source).body
    assert isinstance(body, ast.ClassDef)
    found = {}
    for node in body.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
            found[node.target.id] = " ".join(said[line] for line in lines if line in said)
    return found


def table(head: str, kind: type[msgspec.Struct]) -> list[str]:
    said = comments(kind)
    rows = [
        f"## `{head}`",
        "",
        (inspect.getdoc(kind) or "").replace("``", "`"),
        "",
        "| key | default | |",
        "|---|---|---|",
    ]
    for one in msgspec.structs.fields(kind):
        choices = [repr(choice) for choice in get_args(one.type)] if get_origin(one.type) is Literal else []
        told = said[one.name] + (f"; one of {', '.join(choices)}".replace("'", '"') if choices else "")
        rows.append(f"| `{one.name}` | {_default(one)} | {told} |".replace("|  |", "| |"))
    return [*rows, ""]


def _default(one: Any) -> str:
    if one.default is msgspec.NODEFAULT:
        return "required" if one.required else ""
    return "none" if one.default is None else f"`{as_toml(one.default)}`"


def page() -> str:
    shipped = s.load(CONFIG, {}, Path("/nobody"))
    lines = [INTRO]
    for one in msgspec.structs.fields(s.Settings):
        if one.name in LISTS:
            lines += table(*LISTS[one.name])
        elif one.name in ENTRIES:
            head, told = ENTRIES[one.name]
            lines += [f"## `{head}`", "", told, ""]
        elif one.name not in (*OF_ENVIRONMENT, *DATA):
            lines += table(f"[{one.name}]", one.type)
    lines += ["## Variables", "", "| variable | |", "|---|---|"]
    lines += [f"| `{name}` | {told} |" for name, told in OWN.items()]
    lines += [
        "",
        "## Variables of sources",
        "",
        "| source | key | also read | address | needs |",
        "|---|---|---|---|---|",
    ]
    for spec in shipped.provider.values():
        if spec.name != s.EMBEDDED:
            names = (
                [spec.key_env] if spec.key_env else [],
                spec.key_env_also,
                [*filter(None, (spec.base_url_env, spec.hub_env))],
            )
            cells = [", ".join(f"`{name}`" for name in one) for one in (*names, spec.base_url_needs.values())]
            lines.append(f"| {' | '.join([spec.title, *cells])} |".replace("|  |", "| |").replace("|  |", "| |"))
    return "\n".join(lines) + "\n"


def test_the_page_is_that_of_the_code():
    assert PAGE.read_text() == page()


def test_every_key_is_explained():
    kinds = [one.type for one in msgspec.structs.fields(s.Settings) if one.name not in (*OF_ENVIRONMENT, *DATA)]
    tables = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, msgspec.Struct)]
    tables += [kind for _, kind in LISTS.values()]
    for kind in tables:
        assert not [name for name, said in comments(kind).items() if not said], kind


if __name__ == "__main__":
    PAGE.write_text(page())
