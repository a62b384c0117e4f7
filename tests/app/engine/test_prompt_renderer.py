"""Short prompts are rendered at once and the others by vLLM's threads, all to the same tokens."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.renderers import renderer_from_config
from vllm.renderers.base import BaseRenderer
from vllm.renderers.params import ChatParams, TokenizeParams

from app.engine.prompt_renderer import FEW_TEXTS, SHORT_CHARACTERS, PromptRenderer
from tests.fixtures.tiny_llama import write_model

pytestmark = pytest.mark.engine
TEMPLATE = "{% for one in messages %}<{{ one.role }}>{{ one.content }}{% endfor %}"
UNBOUND = TokenizeParams(max_total_tokens=None)
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


class Recording:
    """vLLM's renderer, and the names of what was called of it."""

    def __init__(self, renderer: BaseRenderer) -> None:
        self._renderer = renderer
        self.called: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.called.append(name)
        return getattr(self._renderer, name)


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> BaseRenderer:
    directory = tmp_path_factory.mktemp("tiny")
    write_model(directory)
    return _renderer(directory)


def _renderer(directory: Path) -> BaseRenderer:
    config = AsyncEngineArgs(model=str(directory), enforce_eager=True).create_engine_config()
    made: BaseRenderer = renderer_from_config(config)
    return made


def _params(**kwargs: Any) -> ChatParams:
    return ChatParams(
        chat_template=TEMPLATE,
        chat_template_kwargs={"add_generation_prompt": True, "tokenize": False, **kwargs},
    )


async def _chat(renderer: BaseRenderer, messages: list[dict[str, Any]], **kwargs: Any) -> list[str]:
    """Render a conversation in both ways, which must agree; tell what was called."""
    recording: Any = Recording(renderer)
    asked: Any = ([messages], _params(**kwargs), UNBOUND)
    _, (ours,) = await PromptRenderer(recording).render_chat_async(*asked)
    _, (theirs,) = await renderer.render_chat_async(*asked)
    assert ours["prompt_token_ids"] == theirs["prompt_token_ids"]
    assert ours["prompt_token_ids"]
    return [name for name in recording.called if name.startswith("render")]


async def _completion(renderer: BaseRenderer, *prompts: dict[str, Any]) -> list[str]:
    recording: Any = Recording(renderer)
    asked: Any = (prompts, UNBOUND)
    ours = await PromptRenderer(recording).render_cmpl_async(*asked)
    theirs = await renderer.render_cmpl_async(*asked)
    assert [one["prompt_token_ids"] for one in ours] == [one["prompt_token_ids"] for one in theirs]
    assert len(ours) == len(prompts)
    return [name for name in recording.called if name.startswith("render")]


def _said(text: Any, **values: Any) -> dict[str, Any]:
    return {"role": "user", "content": text, **values}


async def test_a_short_conversation_is_rendered_at_once(renderer: BaseRenderer) -> None:
    messages = [{"role": "system", "content": "Be kind."}, _said("Grüß dich", name=None)]
    assert await _chat(renderer, messages) == ["render_chat"]


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([_said("a" * SHORT_CHARACTERS)], id="long"),
        pytest.param([_said("a" * (SHORT_CHARACTERS // 2))] * 2, id="long together"),
        pytest.param([_said("")] * FEW_TEXTS, id="many"),
        pytest.param([_said([{"type": "text", "text": "a"}])], id="parts"),
    ],
)
async def test_other_conversations_are_left_to_the_threads(
    renderer: BaseRenderer, messages: list[dict[str, Any]]
) -> None:
    assert await _chat(renderer, messages) == ["render_chat_async"]


async def test_a_conversation_with_tools_is_left_to_the_threads(renderer: BaseRenderer) -> None:
    assert await _chat(renderer, [_said("Look.")], tools=[TOOL]) == ["render_chat_async"]
    assert await _chat(renderer, [_said("Look.")], tools=None) == ["render_chat"]


async def test_short_texts_are_rendered_at_once(renderer: BaseRenderer) -> None:
    assert await _completion(renderer, {"prompt": "Once"}) == ["render_cmpl"]
    assert await _completion(renderer, {"prompt": "Once"}, {"prompt": "Then"}) == ["render_cmpl"]


@pytest.mark.parametrize(
    "prompt", [{"prompt": "a" * (SHORT_CHARACTERS + 1)}, {"prompt_token_ids": [1, 2, 3]}]
)
async def test_other_prompts_are_left_to_the_threads(
    renderer: BaseRenderer, prompt: dict[str, Any]
) -> None:
    assert await _completion(renderer, prompt) == ["render_cmpl_async"]


async def test_both_may_be_at_work_at_once(renderer: BaseRenderer) -> None:
    long, short = _said("a b " * 5_000), _said("a b")
    names = await asyncio.gather(*(_chat(renderer, [one]) for one in [long, short] * 20))
    assert names == [["render_chat_async"], ["render_chat"]] * 20


async def test_all_else_is_asked_of_vllms_renderer(renderer: BaseRenderer) -> None:
    assert PromptRenderer(renderer).get_tokenizer() is renderer.get_tokenizer()
