"""LlamaIndex's OpenAILike: a tool loop, a structured answer, and an asynchronous stream.

For the scripted model: it calls `get_weather`, then speaks of the result.
"""

import asyncio

from connection import KEY, MODEL, OPENAI_URL, report
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

QUESTION = "What is the weather in Paris?"


class Place(BaseModel):
    """Where somebody is."""

    city: str


def get_weather(city: str) -> str:
    """Return the weather in a city."""
    return f"sunny in {city}"


def tool_loop(model: OpenAILike) -> dict[str, object]:
    weather = FunctionTool.from_defaults(get_weather)
    history = [ChatMessage(role="user", content=QUESTION)]
    results: list[str] = []
    while True:
        answer = model.chat_with_tools([weather], chat_history=history)
        history.append(answer.message)
        calls = model.get_tool_calls_from_response(answer, error_on_no_tool_call=False)
        if not calls:
            return {"results": results, "text": answer.message.content}
        for call in calls:
            results.append(str(weather(**call.tool_kwargs)))
            extra = {"tool_call_id": call.tool_id}
            history.append(ChatMessage(role="tool", content=results[-1], additional_kwargs=extra))


def structured(model: OpenAILike) -> dict[str, object]:
    answer = model.as_structured_llm(Place).chat([ChatMessage(role="user", content=QUESTION)])
    return answer.raw.model_dump()


async def streamed(model: OpenAILike) -> str:
    stream = await model.astream_chat([ChatMessage(role="user", content=QUESTION)])
    return "".join([part.delta or "" async for part in stream])


def main() -> None:
    model = OpenAILike(
        api_base=OPENAI_URL,
        api_key=KEY,
        model=MODEL,
        is_chat_model=True,
        is_function_calling_model=True,
        context_window=4096,
        temperature=0.0,
        max_tokens=200,
        max_retries=0,
    )
    report(
        loop=tool_loop(model), structured=structured(model), streamed=asyncio.run(streamed(model))
    )


if __name__ == "__main__":
    main()
