"""Keys are kept in ``keys.env``, for its owner alone. What else stands in the file stays as it is."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from gateway.settings.files import read_variables


def store(path: Path, name: str, value: str | None) -> None:
    """
    Set the variable *name* in the file *path* to *value*; None takes it out. The file is replaced at once, or stays as it was.

    Raises OSError, and ValueError if *value* cannot be a line of it.
    """
    if value is not None and (not value.isprintable() or set(value) & set("'\"\\#")):
        raise ValueError(f"{name}: a key has no quotes and no line ends")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lines = path.read_text(encoding="utf-8-sig").splitlines() if path.exists() else []
    line = read_variables(path).lines.get(name)
    if line is not None:
        lines[line - 1 : line] = [] if value is None else [f"{name}={value}"]
    elif value is not None:
        lines.append(f"{name}={value}")
    handle, made = tempfile.mkstemp(dir=path.parent, prefix=".keys-")  # of mode 600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write("".join(f"{one}\n" for one in lines))
            file.flush()
            os.fsync(file.fileno())
        Path(made).replace(path)
    except BaseException:
        Path(made).unlink(missing_ok=True)
        raise
