"""What the shipped templates of language models that rerank write out."""

from pathlib import Path

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

TEMPLATES = Path("deploy/catalogs/templates")
PAIR = [{"role": "query", "content": "q & <a>"}, {"role": "document", "content": " d\n{{ e }} "}]


def _rendered(name: str) -> str:
    template = (TEMPLATES / name).read_text()
    (text,), _ = render_jinja_template([PAIR], chat_template=template, instruction="Find it.")
    return str(text)


def test_qwen3_rerankers_form_is_the_one_it_was_trained_on():
    rules = (
        "Judge whether the Document meets the requirements based on the Query and the Instruct"
        ' provided. Note that the answer can only be "yes" or "no".'
    )
    assert _rendered("qwen3-reranker.jinja") == (
        f"<|im_start|>system\n{rules}<|im_end|>\n"
        "<|im_start|>user\n"
        "<Instruct>: Find it.\n<Query>: q & <a>\n<Document>:  d\n{{ e }} <|im_end|>\n"
        "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )


@pytest.mark.parametrize("name", ["qwen3-reranker.jinja", "yes-no-reranker.jinja"])
def test_a_template_leaves_what_callers_write_as_it_is(name: str):
    text = _rendered(name)
    for written in ("Find it.", "q & <a>", " d\n{{ e }} "):
        assert text.count(written) == 1
    assert text.count("<|im_start|>") == text.count("<|im_end|>") + 1
