"""Start the gateway with what Home Assistant has in the app's configuration (/data/options.json)."""
# ruff: noqa: INP001, S606, S607, TID251 - it runs in the app's container, beside the gateway and not as a part of it

import json
import os
from pathlib import Path

VARIABLES = {
    "client_key": "FREEWAY_API_KEY",
    "openrouter": "OPENROUTER_API_KEY",
    "gemini": "GEMINI_API_KEY",
    "groq": "GROQ_API_KEY",
    "nvidia": "NVIDIA_API_KEY",
    "huggingface": "HF_TOKEN",
    "mistral": "MISTRAL_API_KEY",
    "ollama": "OLLAMA_HOST",
}

options = json.loads(Path("/data/options.json").read_text())
told = {VARIABLES[name]: str(value) for name, value in options.items() if name in VARIABLES and value}
os.execvpe("freeway", ["freeway", "serve"], {**os.environ, **told})
