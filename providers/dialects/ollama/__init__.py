"""Ollama's own API, and the mark by which a gateway that speaks it is told from an Ollama."""

MARK = "freeway"
"""The field of ``/api/version`` that only a Freeway has."""
