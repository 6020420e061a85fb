"""The client programs: what each is, how it is started, and how a conversation is made to outgrow its source."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType

from msgspec import Struct

from tests.acceptance.process import run
from tests.clients import model
from tests.clients.installed import NotToBeHad, Package
from tests.clients.page import ADDRESS, snippets
from tests.clients.stage import CONTEXT, NOTES, Said, Stage

HERE = Path(__file__).parent
Words = Mapping[str, str]
NONE: Words = MappingProxyType({})


class Program(Struct, frozen=True, kw_only=True):
    """
    A program, set up as *section* of the page says, but for what *told* replaces; it speaks by the *door* of that name.

    *find* gives what is run, or raises NotToBeHad; *arguments* come after it, and then what is asked of it. *quiet* are
    variables that keep it from the network: its models, plugins and updates. *overflow* has it outgrow its source.
    `freeway connect` knows it as *connect*; empty: it does not.
    """

    name: str
    door: str
    section: str
    find: Callable[[], Path]
    version: str
    arguments: Sequence[str]
    prepare: Callable[[Stage], None] = lambda stage: None
    told: Words = NONE
    quiet: Words = NONE
    overflow: Callable[[Program, Stage], str]
    script: Path | None = None  # of our own, for what is a library
    connect: str = ""

    def plays(self, scenario: str) -> bool:
        """Whether there is something to try: what the page says, or what `freeway connect` writes."""
        return bool(self.connect if scenario == "connect" else self.section)

    def set_up(self, stage: Stage, told: Words = NONE) -> dict[str, str]:
        """What the page says is written; gives the variables."""
        self.prepare(stage)
        words = {ADDRESS: stage.origin, **self.told, **told}
        return snippets(self.section).write(stage.home, stage.project, words) | dict(self.quiet)

    def connected(self, stage: Stage) -> dict[str, str]:
        """What `freeway connect` writes is there, and nothing else; gives the variables."""
        done = run("connect", self.connect, "--gateway", stage.origin, home=stage.home)
        assert done.returncode == 0, done.stderr
        return dict(self.quiet)

    def ask(self, stage: Stage, variables: Words, prompt: str = model.TASK, *more: str) -> Said:
        own = [self.script] if self.script else []
        return stage.run(
            [self.find(), *(() if own else more), *self.arguments, *own, *(more if own else ()), prompt], variables
        )


def perform(program: Program, scenario: str, stage: Stage) -> str:
    """*program* does its task in *scenario*; what was wrong about it, or nothing."""
    if scenario == "overflow":
        return program.overflow(program, stage)
    if scenario == "connect":
        return does_its_task_and_is_undone(program, stage)
    said = program.ask(stage, program.set_up(stage))
    return finished(stage, said)


def does_its_task_and_is_undone(program: Program, stage: Stage) -> str:
    """*program* does its task with what `freeway connect` wrote alone, which one undo takes back."""
    program.prepare(stage)
    before = set(_files(stage.home))
    variables = program.connected(stage)
    ours = set(_files(stage.home)) - before
    wrong = finished(stage, program.ask(stage, variables))
    undone = run("connect", program.connect, "--undo", "--force", home=stage.home)
    if undone.returncode:
        return f"{wrong}; it was not undone: {undone.stderr}"
    left = ours & set(_files(stage.home))
    return f"{wrong}; it is still there: {sorted(left)}" if left else wrong


def _files(home: Path) -> list[Path]:
    """All files of *home* but our own."""
    return [path for path in home.rglob("*") if path.is_file() and ".local/share/freeway" not in str(path)]


def finished(stage: Stage, said: Said) -> str:
    """What is wrong with a task that should be done; nothing if it is."""
    wrote = stage.project / "hello.txt"
    text = wrote.read_text() if wrote.exists() else None
    charged = [name for name, provider in stage.world.providers.items() if provider.charged]
    wrong = {
        f"it ended with {said.status}": said.status != 0,
        f"hello.txt holds {text!r}": text != model.TEXT,
        "it did not say that it was done": model.DONE not in said.printed,
        f"it cost something at {charged}": charged,
    }
    found = "; ".join(told for told, so in wrong.items() if so)
    return f"{found}: {said.printed[-1500:]}" if found else ""


# ── a conversation that outgrows its source ──


def compacts(program: Program, stage: Stage, *, told: Words = NONE, status: int = 0) -> str:
    """It reads more than its source holds, has it summed up, and goes on; it ends with *status* then."""
    said = program.ask(stage, program.set_up(stage, {"131072": str(CONTEXT), **told}))
    done = finished(stage, Said(0 if said.status == status else said.status, said.printed))
    return done or _from_a_summary(stage, said)


def _from_a_summary(stage: Stage, said: Said) -> str:
    return "" if stage.model.goes_on_from_a_summary else f"it did not go on from a summary: {said.printed[-1500:]}"


def compacts_between_questions(program: Program, stage: Stage) -> str:
    """The same for one that sums up only what was before the latest question."""
    for number in range(10, NOTES + 1):
        (stage.project / f"notes{number}.txt").unlink()
    stage.model.notes = 9
    variables = program.set_up(stage, {"0.08": "0.025"})
    program.ask(stage, variables, model.READ)
    said = program.ask(stage, variables, model.TASK, "--resume", "latest")
    return finished(stage, said) or _from_a_summary(stage, said)


def is_told(program: Program, stage: Stage, *, words: str, reading: Callable[[Stage], Sequence[str]]) -> str:
    """It cannot sum up: it says that the request was too long in its own *words*, and the next one is served."""
    variables = program.set_up(stage)
    said = program.ask(stage, variables, model.TASK, *reading(stage))
    if words not in said.printed:
        return f"it did not say {words!r}: {said.printed[-1500:]}"
    (stage.project / "hello.txt").unlink(missing_ok=True)
    return finished(stage, program.ask(stage, variables))


def goes_on_without(program: Program, stage: Stage) -> str:
    """It takes what it has read out of the conversation when it is told that it is too long, and goes on."""
    said = program.ask(stage, program.set_up(stage), model.TASK, str(_all_notes(stage)))
    told = any("context_length_exceeded" in line for line in stage.requests())
    return finished(stage, said) or ("" if told else "nothing was too long")


def _all_notes(stage: Stage) -> Path:
    """One file that is longer than the source holds."""
    notes = stage.project / "notes.txt"
    notes.write_text("\n".join((stage.project / f"notes{n}.txt").read_text() for n in range(1, NOTES + 1)) * 2)
    return notes


# ── the programs ──


def _opencode(npm: str, door: str, connect: str = "") -> Program:
    package = Package("npm", "opencode-ai", "node_modules/opencode-*/bin/opencode")
    return Program(
        name="OpenCode",
        door=door,
        connect=connect,
        section="OpenCode",
        find=package.path,
        version=package.version,
        arguments=("run", "--auto"),
        prepare=_without_plugins,
        told={"@ai-sdk/openai-compatible": npm},
        quiet={
            "OPENCODE_DISABLE_MODELS_FETCH": "1",
            "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
            "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1",
            "OPENCODE_DISABLE_AUTOUPDATE": "1",
        },
        overflow=partial(compacts, status=1),  # it saw an error, though it got over it
    )


def _without_plugins(stage: Stage) -> None:
    """As if what plugins need were installed: there are none, and it takes a while."""
    plugins = stage.home / ".config/opencode"
    (plugins / "node_modules").mkdir(parents=True)
    (plugins / "package-lock.json").write_text('{"packages": {"": {"dependencies": {"@opencode-ai/plugin": "*"}}}}')


_CLAUDE = Package("npm", "@anthropic-ai/claude-code", "node_modules/@anthropic-ai/claude-code-*/claude")
_CODEX = Package("npm", "@openai/codex", "node_modules/@openai/codex-*/vendor/*/bin/codex")
_QWEN = Package("npm", "@qwen-code/qwen-code", "node_modules/.bin/qwen")
_CONTINUE = Package("npm", "@continuedev/cli", "node_modules/.bin/cn")
_CLINE = Package("npm", "cline", "node_modules/@cline/cli-*/bin/cline")
_GEMINI = Package("npm", "@google/gemini-cli", "node_modules/.bin/gemini")
_AIDER = Package("pypi", "aider-chat", "bin/aider")
_LLM = Package("pypi", "llm", "bin/llm")

_WRITE_FILE = """
def write_file(file_path: str, content: str) -> str:
    "Write a file."
    with open(file_path, "w") as file:
        file.write(content)
    return "written"
"""


def _python() -> Path:
    return Path(sys.executable)


def _java() -> Path:
    found = shutil.which("java")
    if found is None:
        raise NotToBeHad("there is no java here")
    return Path(found)


PROGRAMS: tuple[Program, ...] = (
    _opencode("@ai-sdk/openai-compatible", "chat", "opencode"),
    _opencode("@ai-sdk/openai", "responses"),
    _opencode("@ai-sdk/anthropic", "messages"),
    Program(
        name="Claude Code",
        connect="claude-code",
        door="messages",
        section="Claude Code",
        find=_CLAUDE.path,
        version=_CLAUDE.version,
        arguments=("--permission-mode", "acceptEdits", "-p"),
        quiet={"DISABLE_AUTOUPDATER": "1"},
        overflow=compacts,
    ),
    Program(
        name="Codex",
        connect="codex",
        door="responses",
        section="Codex",
        find=_CODEX.path,
        version=_CODEX.version,
        arguments=("exec", "--skip-git-repo-check", "--sandbox", "danger-full-access"),
        overflow=compacts,
    ),
    Program(
        name="Qwen Code",
        connect="qwen-code",
        door="chat",
        section="Qwen Code",
        find=_QWEN.path,
        version=_QWEN.version,
        arguments=("--yolo", "-p"),
        overflow=compacts,
    ),
    Program(
        name="Gemini CLI",
        door="gemini",
        section="Gemini CLI",
        find=_GEMINI.path,
        version=_GEMINI.version,
        arguments=("--yolo", "--skip-trust", "-p"),
        overflow=compacts_between_questions,
    ),
    Program(
        name="aider",
        connect="aider",
        door="chat",
        section="aider",
        find=_AIDER.path,
        version=_AIDER.version,
        arguments=("--no-git", "--yes-always", "--file", "hello.txt", "--message"),
        prepare=lambda stage: (stage.project / "hello.txt").touch(),
        overflow=partial(is_told, words="token limit", reading=lambda stage: ("--read", str(_all_notes(stage)))),
    ),
    Program(
        name="llm",
        connect="llm",
        door="chat",
        section="llm",
        find=_LLM.path,
        version=_LLM.version,
        arguments=("--functions", _WRITE_FILE),
        overflow=partial(is_told, words="maximum context length", reading=lambda stage: ("-f", str(_all_notes(stage)))),
    ),
    Program(
        name="Ollama package",
        door="ollama",
        section="Programs for Ollama",
        find=_python,
        version=version("ollama"),
        arguments=("-P",),
        overflow=goes_on_without,
        script=HERE / "ollama_package.py",
    ),
    Program(
        name="Java",
        door="chat",
        section="Java: Spring AI, LangChain4j",
        find=_java,
        version="HttpClient",
        arguments=(),
        overflow=goes_on_without,
        script=HERE / "Client.java",
    ),
)

CONNECTED: tuple[Program, ...] = (
    *(program for program in PROGRAMS if program.connect),
    Program(
        name="Continue",
        connect="continue",
        door="chat",
        section="",
        find=_CONTINUE.path,
        version=_CONTINUE.version,
        arguments=("--auto", "-p"),
        quiet={"CONTINUE_TELEMETRY_ENABLED": "0", "CONTINUE_CLI_AUTO_UPDATED": "true"},
        overflow=compacts,
    ),
    Program(
        name="Cline",
        connect="cline",
        door="chat",
        section="",
        find=_CLINE.path,
        version=_CLINE.version,
        arguments=(),
        quiet={"CLINE_NO_AUTO_UPDATE": "1", "CLINE_TELEMETRY_DISABLED": "1"},
        overflow=compacts,
    ),
)
"""Those that `freeway connect` sets up and that can be installed here."""
