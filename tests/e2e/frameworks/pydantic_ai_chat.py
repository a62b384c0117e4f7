"""Pydantic AI's agent without tools: a plain run and a streamed one, with the usage of each."""

import asyncio

from connection import KEY, MODEL, OPENAI_URL, report
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

QUESTION = "What is the capital of France?"


async def main() -> None:
    provider = OpenAIProvider(base_url=OPENAI_URL, api_key=KEY)
    model = OpenAIChatModel(MODEL, provider=provider)
    agent = Agent(
        model,
        system_prompt="You are terse.",
        model_settings={"temperature": 0.0, "max_tokens": 12},
    )
    answer = await agent.run(QUESTION)
    async with agent.run_stream(QUESTION) as stream:
        pieces = [piece async for piece in stream.stream_text(delta=True, debounce_by=None)]
        streamed_usage = stream.usage
    report(
        whole={"text": answer.output, "usage": answer.usage.output_tokens},
        streamed={"text": "".join(pieces), "usage": streamed_usage.output_tokens},
    )


if __name__ == "__main__":
    asyncio.run(main())
