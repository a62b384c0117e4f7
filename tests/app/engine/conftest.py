"""These tests import vLLM at their head, before any fixture could quieten it."""

from tests.fixtures.engines import import_vllm

import_vllm()
