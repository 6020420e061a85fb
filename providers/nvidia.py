from providers.openai import OpenAI


class Nvidia(OpenAI): ...
