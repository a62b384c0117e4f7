"""LangChain's OpenAI and Groq models: a tool loop, structured output, and an asynchronous stream.

For the scripted model: it calls `get_weather`, then speaks of the result.
"""

import asyncio

from connection import KEY, MODEL, OPENAI_URL, URL, report
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AnyMessage, HumanMessage, SystemMessage
from langchain_core.tools import tool
from langchain_groq import ChatGroq
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

QUESTION = "What is the weather in Paris?"


class Report(BaseModel):
    """The weather in a city."""

    city: str
    temperature: int
    dry: bool


@tool
def get_weather(city: str) -> str:
    """Return the weather in a city."""
    return f"sunny in {city}"


def tool_loop(model: BaseChatModel) -> dict[str, object]:
    """Ask, run the tools that are called, and ask again until the model only speaks."""
    bound = model.bind_tools([get_weather])
    messages: list[AnyMessage] = [HumanMessage(QUESTION)]
    results: list[str] = []
    while calls := (answer := bound.invoke(messages)).tool_calls:
        found = [get_weather.invoke(call) for call in calls]
        results += [message.content for message in found]
        messages += [answer, *found]
    return {"results": results, "text": answer.content}


def structured(model: BaseChatModel, method: str, play: str) -> dict[str, object]:
    parsed = model.with_structured_output(Report, method=method).invoke(
        [SystemMessage(f"play: {play}"), HumanMessage(QUESTION)]
    )
    return parsed.model_dump()


async def streamed(model: BaseChatModel) -> dict[str, object]:
    total = None
    async for chunk in model.bind_tools([get_weather]).astream(QUESTION):
        total = chunk if total is None else total + chunk
    return {"calls": [[call["name"], call["args"]] for call in total.tool_calls]}


def main() -> None:
    limits = {"temperature": 0, "max_tokens": 200, "max_retries": 0}
    models = {
        "openai": ChatOpenAI(base_url=OPENAI_URL, api_key=KEY, model=MODEL, **limits),
        "groq": ChatGroq(base_url=URL, api_key=KEY, model=MODEL, **limits),
    }
    report(
        **{
            name: {
                "loop": tool_loop(model),
                "json_schema": structured(model, "json_schema", "json"),
                "function_calling": structured(model, "function_calling", "call"),
                "streamed": asyncio.run(streamed(model)),
            }
            for name, model in models.items()
        }
    )


if __name__ == "__main__":
    main()
