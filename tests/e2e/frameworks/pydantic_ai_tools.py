"""Pydantic AI's agent: a tool loop, typed output by a tool and by JSON schema, and a stream.

For the scripted model: it calls `get_weather`, then speaks of the result.
"""

import asyncio

from connection import KEY, MODEL, OPENAI_URL, report
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

SETTINGS = {"temperature": 0.0, "max_tokens": 200}


class Report(BaseModel):
    """The weather in a city."""

    city: str
    temperature: int
    dry: bool


async def tool_loop(model: OpenAIChatModel) -> dict[str, object]:
    agent = Agent(model, model_settings=SETTINGS)
    asked: list[str] = []

    @agent.tool_plain
    def get_weather(city: str) -> str:
        """Return the weather in a city."""
        asked.append(city)
        return f"sunny in {city}"

    whole = await agent.run("What is the weather in Paris?")
    async with agent.run_stream("What is the weather in Paris?") as stream:
        streamed = await stream.get_output()
    return {"asked": asked, "text": whole.output, "streamed": streamed}


async def structured(model: OpenAIChatModel, output: object, play: str) -> dict[str, object]:
    agent = Agent(model, output_type=output, system_prompt=f"play: {play}", model_settings=SETTINGS)
    return (await agent.run("What is the weather in Lima?")).output.model_dump()


async def main() -> None:
    provider = OpenAIProvider(base_url=OPENAI_URL, api_key=KEY)
    model = OpenAIChatModel(MODEL, provider=provider)
    report(
        loop=await tool_loop(model),
        by_tool=await structured(model, Report, "text"),
        by_schema=await structured(model, NativeOutput(Report), "json"),
    )


if __name__ == "__main__":
    asyncio.run(main())
