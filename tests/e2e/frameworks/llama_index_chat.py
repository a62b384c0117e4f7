"""LlamaIndex's OpenAILike: a plain call and a stream, with the usage of each."""

from connection import KEY, MODEL, OPENAI_URL, report
from llama_index.core.base.llms.types import ChatMessage
from llama_index.llms.openai_like import OpenAILike

MESSAGES = [
    ChatMessage(role="system", content="You are terse."),
    ChatMessage(role="user", content="What is the capital of France?"),
]


def main() -> None:
    model = OpenAILike(
        api_base=OPENAI_URL,
        api_key=KEY,
        model=MODEL,
        is_chat_model=True,
        context_window=1024,
        temperature=0.0,
        max_tokens=12,
        max_retries=0,
    )
    answer = model.chat(MESSAGES)
    parts = list(model.stream_chat(MESSAGES, stream_options={"include_usage": True}))
    usages = [part.raw.usage for part in parts if part.raw.usage]
    report(
        whole={"text": answer.message.content, "usage": answer.raw.usage.total_tokens},
        streamed={
            "text": parts[-1].message.content,
            "joined": "".join(part.delta or "" for part in parts),
            "usage": usages[-1].total_tokens,
        },
    )


if __name__ == "__main__":
    main()
