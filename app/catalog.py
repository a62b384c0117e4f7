"""The catalog: which models this deployment serves, read once at start from a YAML file."""

from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from app.tasks import Task

ReasoningEffort = Literal["none", "default", "minimal", "low", "medium", "high", "xhigh"]


class CatalogError(Exception):
    """The catalog cannot be used; the message names the file and the key."""


class Entry(BaseModel):
    """Any part of the catalog: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LoraSpec(Entry):
    """How many adapters one engine holds, and which it accepts. Names are vLLM's where it has one.

    `max_running_each` caps the requests of one adapter that run at once; unset, it is three
    quarters of vLLM's `max_num_seqs`.
    """

    ranks: tuple[int, ...] = (8, 16, 32, 64)
    max_loras: int = Field(4, ge=1)
    max_cpu_loras: int = Field(32, ge=1)
    max_lora_rank: int = Field(64, ge=1)
    max_running_each: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def tiers_nest(self) -> Self:
        if self.max_cpu_loras < self.max_loras:
            raise ValueError("max_cpu_loras must be at least max_loras")
        if max(self.ranks) > self.max_lora_rank:
            raise ValueError("max_lora_rank must be at least the largest of ranks")
        return self


class ChatSpec(Entry):
    """What a chat model can do beyond text. Parsers are vLLM's, by the names it gives them.

    `template` is a Jinja file used in place of the model's own. `reasoning_efforts` are the values
    of `reasoning_effort` that the model tells apart, besides which none is accepted. `logprobs`
    false refuses `logprobs`, `top_logprobs` and `logit_bias`, as GroqCloud does.
    """

    tool_parser: str | None = None
    reasoning_parser: str | None = None
    reasoning_efforts: tuple[ReasoningEffort, ...] = ()
    template: Path | None = None
    logprobs: bool = True


class RerankingSpec(Entry):
    """How a reranking model is asked.

    A cross-encoder needs nothing. A language model is asked by `template`, a Jinja file that writes
    `instruction`, the query and a document, and answers with one of the two tokens in `answers`:
    the one for irrelevant, then the one for relevant.
    """

    template: Path | None = None
    instruction: str = "Given a search query, find passages that answer it."
    answers: tuple[str, str] | None = None


class TranscriptionSpec(Entry):
    """What a speech-to-text model is served with.

    `word_timestamps` false saves the memory of a second copy of the weights, which tells when each
    word is spoken. `translates` false is for models that cannot translate.
    """

    word_timestamps: bool = True
    translates: bool = True


class SpeechSpec(Entry):
    """How a text-to-speech model is run.

    `piper` speaks with every voice in its source directory, or with `voices` of these. `orpheus` is
    a language model whose tokens `codec`, a SNAC decoder, turns into audio; its `voices` are names
    that it was trained on. `aliases` are further names for voices.
    """

    backend: Literal["piper", "orpheus"]
    voices: tuple[str, ...] = ()
    aliases: dict[str, str] = Field(default_factory=dict)
    codec: str | None = None
    max_characters: int = Field(4096, ge=1)

    @model_validator(mode="after")
    def orpheus_has_what_it_needs(self) -> Self:
        if self.backend == "orpheus" and not (self.codec and self.voices):
            raise ValueError("the orpheus backend needs codec and voices")
        return self


class ModelSpec(Entry):
    """One served model. `vllm` holds any vLLM engine argument, by its Python name.

    The server starts without an `optional` model that cannot be served. What is about one task
    stands under the task's name.
    """

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,254}$")
    task: Task
    source: str
    revision: str | None = None
    owned_by: str = "system"
    optional: bool = False
    context_window: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    vllm: dict[str, Any] = Field(default_factory=dict)
    lora: LoraSpec | None = None
    chat: ChatSpec = ChatSpec()
    reranking: RerankingSpec = RerankingSpec()
    transcription: TranscriptionSpec = TranscriptionSpec()
    speech: SpeechSpec | None = None

    @model_validator(mode="after")
    def blocks_agree_with_the_task(self) -> Self:
        blocks = {"chat", "reranking", "transcription", "speech"} & self.model_fields_set
        if strange := sorted(blocks - {self.task}):
            raise ValueError(f"`{strange[0]}` is not for a model of task {self.task}")
        if self.task == "speech" and self.speech is None:
            raise ValueError("a model of task speech needs `speech`")
        if self.task == "chat" and not (self.context_window and self.max_completion_tokens):
            raise ValueError(
                "a model of task chat needs `context_window` and `max_completion_tokens`"
            )
        return self

    @model_validator(mode="after")
    def lora_flags_stand_under_lora(self) -> Self:
        misplaced = self.vllm.keys() & (LoraSpec.model_fields.keys() | {"model", "enable_lora"})
        if misplaced:
            raise ValueError(f"set {sorted(misplaced)} outside the vllm block")
        return self


class Catalog(Entry):
    """The whole file: `models:` and nothing else."""

    models: tuple[ModelSpec, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def ids_are_unique(self) -> Self:
        ids = [model.id for model in self.models]
        if doubled := sorted({id for id in ids if ids.count(id) > 1}):
            raise ValueError(f"two models share the id {doubled[0]}")
        return self

    def foreign_names(self, id: str) -> frozenset[str]:
        """Return the ids and hub ids of the models other than `id`, where they differ from its."""
        return frozenset(
            name for model in self.models if model.id != id for name in _names(model)
        ) - frozenset(name for model in self.models if model.id == id for name in _names(model))


def _names(model: ModelSpec) -> set[str]:
    is_local = model.source.startswith((".", "/", "~"))
    return {model.id} if is_local else {model.id, model.source}


def load_catalog(path: Path) -> Catalog:
    """Read and check the catalog.

    A `source` that starts with `.`, `/` or `~` is a local directory, relative to the catalog file,
    and must exist; any other is a hub id. **Raises:** CatalogError.
    """
    try:
        document = yaml.safe_load(path.read_text())
        catalog = Catalog.model_validate(document)
    except OSError as error:
        raise CatalogError(f"{path}: cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise CatalogError(f"{path}: not valid YAML: {error}") from error
    except ValidationError as error:
        raise CatalogError(_describe(path, error)) from error
    return Catalog(models=tuple(_locate(path, model) for model in catalog.models))


def _locate(path: Path, model: ModelSpec) -> ModelSpec:
    source = _directory(path, model.source, f"{model.id}.source")
    located = model.model_copy(update={"source": source})
    for block in ("chat", "reranking"):
        located = _locate_template(path, located, block)
    return _locate_codec(path, located)


def _locate_template(path: Path, model: ModelSpec, block: str) -> ModelSpec:
    spec = getattr(model, block)
    if spec.template is None:
        return model
    template = (path.parent / spec.template.expanduser()).resolve()
    if not template.is_file():
        raise CatalogError(f"{path}: models.{model.id}.{block}.template: no file {template}")
    return model.model_copy(update={block: spec.model_copy(update={"template": template})})


def _locate_codec(path: Path, model: ModelSpec) -> ModelSpec:
    if model.speech is None or model.speech.codec is None:
        return model
    codec = _directory(path, model.speech.codec, f"{model.id}.speech.codec")
    return model.model_copy(update={"speech": model.speech.model_copy(update={"codec": codec})})


def _directory(path: Path, source: str, key: str) -> str:
    """Return a local directory's absolute path, and a hub id as it is."""
    if not source.startswith((".", "/", "~")):
        return source
    directory = (path.parent / Path(source).expanduser()).resolve()
    if not directory.is_dir():
        raise CatalogError(f"{path}: models.{key}: no directory {directory}")
    return str(directory)


def _describe(path: Path, error: ValidationError) -> str:
    problems = (
        f"{'.'.join(str(part) for part in problem['loc']) or 'catalog'}: {problem['msg']}"
        for problem in error.errors()
    )
    return f"{path}: " + "; ".join(problems)
