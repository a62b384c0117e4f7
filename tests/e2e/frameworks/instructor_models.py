"""Instructor over the OpenAI and Groq SDKs: `response_model` by tools, JSON and JSON schema.

For the scripted model, which is told what to say; a grammar has the last word.
"""

import asyncio

import groq
import instructor
import openai
from connection import KEY, MODEL, OPENAI_URL, URL, report
from instructor import Mode
from pydantic import BaseModel

MODES = (Mode.TOOLS, Mode.JSON, Mode.JSON_SCHEMA)


class Report(BaseModel):
    """The weather in a city."""

    city: str
    temperature: int
    dry: bool


def question(mode: Mode) -> dict[str, object]:
    play = "text" if mode is Mode.TOOLS else "json"
    return {
        "model": MODEL,
        "response_model": Report,
        "max_retries": 0,
        "temperature": 0,
        "max_tokens": 200,
        "messages": [
            {"role": "system", "content": f"play: {play}"},
            {"role": "user", "content": "What is the weather in Lima?"},
        ],
    }


def answer(client: instructor.Instructor, mode: Mode) -> dict[str, object]:
    return client.chat.completions.create(**question(mode)).model_dump()


async def async_answer(mode: Mode) -> dict[str, object]:
    async with openai.AsyncOpenAI(base_url=OPENAI_URL, api_key=KEY, max_retries=0) as sdk:
        client = instructor.from_openai(sdk, mode=mode)
        return (await client.chat.completions.create(**question(mode))).model_dump()


def main() -> None:
    by_openai = openai.OpenAI(base_url=OPENAI_URL, api_key=KEY, max_retries=0)
    by_groq = groq.Groq(base_url=URL, api_key=KEY, max_retries=0)
    report(
        openai={
            mode.value: answer(instructor.from_openai(by_openai, mode=mode), mode) for mode in MODES
        },
        groq={
            mode.value: answer(instructor.from_groq(by_groq, mode=mode), mode)
            for mode in (Mode.TOOLS, Mode.JSON)
        },
        asynchronous=asyncio.run(async_answer(Mode.JSON_SCHEMA)),
    )


if __name__ == "__main__":
    main()
