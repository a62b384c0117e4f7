"""LangChain's OpenAI and Groq models: a plain call, a stream, and the usage of each."""

from connection import KEY, MODEL, OPENAI_URL, URL, report
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk
from langchain_groq import ChatGroq
from langchain_openai import ChatOpenAI

MESSAGES = [("system", "You are terse."), ("human", "What is the capital of France?")]


def whole(model: BaseChatModel) -> dict[str, object]:
    message = model.invoke(MESSAGES)
    return {
        "text": message.content,
        "usage": message.usage_metadata,
        "finish": message.response_metadata["finish_reason"],
        "model": message.response_metadata["model_name"],
    }


def streamed(model: BaseChatModel) -> dict[str, object]:
    chunks = [chunk for chunk in model.stream(MESSAGES) if isinstance(chunk, AIMessageChunk)]
    total = chunks[0]
    for chunk in chunks[1:]:
        total += chunk
    return {"text": total.content, "usage": total.usage_metadata, "chunks": len(chunks)}


def main() -> None:
    limits = {"temperature": 0, "max_tokens": 12, "max_retries": 0}
    models = {
        "openai": ChatOpenAI(
            base_url=OPENAI_URL, api_key=KEY, model=MODEL, stream_usage=True, **limits
        ),
        "groq": ChatGroq(base_url=URL, api_key=KEY, model=MODEL, **limits),
    }
    answers = {
        name: {"whole": whole(model), "streamed": streamed(model)} for name, model in models.items()
    }
    report(**answers)


if __name__ == "__main__":
    main()
