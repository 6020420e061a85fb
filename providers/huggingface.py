from providers.openai import OpenAI


class HuggingFace(OpenAI): ...
