from providers.openai import OpenAI


class Google(OpenAI): ...
