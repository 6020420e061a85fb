from providers.openai import OpenAI


class Ollama(OpenAI): ...
