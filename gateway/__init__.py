"""Freeway: its version, and where the configuration is that ships with it."""

from importlib.resources import files
from pathlib import Path

__version__ = "0.1.0"


def shipped_config() -> Path:
    """``config/``, from a wheel and from a checkout alike."""
    packaged = Path(str(files("gateway") / "_config"))
    return packaged if packaged.is_dir() else Path(__file__).parents[1] / "config"
