from providers.openai import OpenAI


class OpenRouter(OpenAI): ...
