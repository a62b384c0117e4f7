"""Text to speech to text, and speech of other languages to English, by the official SDKs."""

from collections.abc import Iterator

import groq
import openai
import pytest

from tests.e2e.all_tasks.catalog import SPEECH, TRANSCRIPTION, VOICE, wav
from tests.e2e.all_tasks.word_errors import word_errors, words
from tests.fixtures.server import Server
from tests.fixtures.spoken import speak_espeak

SENTENCES = [
    "The morning train leaves the station at half past seven.",
    "She planted three apple trees behind the old stone house.",
    "Please close the window before the rain begins.",
    "Our neighbors invited us to dinner on Saturday evening.",
    "The library keeps its oldest books in a locked room.",
    "A small boat drifted slowly toward the quiet harbor.",
    "He forgot his umbrella and walked home in the storm.",
    "The doctor asked me to rest for a few more days.",
    "Fresh bread and coffee were waiting on the kitchen table.",
    "The children built a castle of sand near the water.",
    "Every student must bring a pencil and a notebook.",
    "The museum is closed on Mondays and public holidays.",
    "A loud noise woke the whole village before sunrise.",
    "My brother repairs bicycles in a shop across the street.",
    "The price of vegetables rises when the winter is cold.",
    "They watched the stars from the roof until midnight.",
    "The new bridge connects the city with the airport.",
    "I would like a glass of water and the menu, please.",
    "The teacher explained the problem on the board again.",
    "Two engineers tested the engine for the whole afternoon.",
]
MOST_ERRORS = 0.10

FOREIGN = {
    "de": (
        "Hallo, mein Name ist Anna und ich komme aus Berlin.",
        {"name", "anna", "berlin"},
    ),
    "es": (
        "La música es muy importante para mi familia.",
        {"music", "important", "family"},
    ),
}
KEYWORDS = 2

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def groq_client(all_tasks: Server) -> Iterator[groq.Groq]:
    with groq.Groq(
        base_url=all_tasks.url, api_key=all_tasks.key("speaker"), max_retries=0
    ) as client:
        yield client


def test_twenty_sentences_come_back_with_few_word_errors(
    groq_client: groq.Groq, all_tasks_client: openai.OpenAI
) -> None:
    errors = 0
    for number, sentence in enumerate(SENTENCES):
        speech = groq_client.audio.speech.create(
            model=SPEECH, voice=VOICE, input=sentence, response_format="wav"
        ).read()
        # Both SDKs, in turn.
        client = groq_client if number % 2 else all_tasks_client
        heard = client.audio.transcriptions.create(
            model=TRANSCRIPTION, file=("speech.wav", speech), language="en"
        )
        errors += word_errors(sentence, heard.text)
    rate = errors / sum(len(words(sentence)) for sentence in SENTENCES)
    print(f"word error rate: {rate:.3f}")
    assert rate < MOST_ERRORS


@pytest.mark.parametrize("response_format", ["flac", "mp3", "ogg", "opus", "wav"])
def test_every_format_with_a_file_type_of_its_own_is_heard_again(
    all_tasks_client: openai.OpenAI, response_format: str
) -> None:
    speech = all_tasks_client.audio.speech.create(
        model=SPEECH, voice=VOICE, input=SENTENCES[0], response_format=response_format
    ).read()
    heard = all_tasks_client.audio.transcriptions.create(
        model=TRANSCRIPTION, file=(f"speech.{response_format}", speech), language="en"
    )
    assert word_errors(SENTENCES[0], heard.text) <= 1


@pytest.mark.parametrize("language", FOREIGN)
def test_other_languages_are_translated(groq_client: groq.Groq, language: str) -> None:
    text, keywords = FOREIGN[language]
    audio = wav(speak_espeak(text, language))
    english = groq_client.audio.translations.create(model=TRANSCRIPTION, file=("speech.wav", audio))
    print(f"{language}: {english.text}")
    assert len(keywords & set(words(english.text))) >= KEYWORDS


def test_the_language_is_detected_and_told(all_tasks_client: openai.OpenAI) -> None:
    text, _ = FOREIGN["de"]
    heard = all_tasks_client.audio.transcriptions.create(
        model=TRANSCRIPTION,
        file=("speech.wav", wav(speak_espeak(text, "de"))),
        response_format="verbose_json",
    )
    assert heard.language == "german"
    assert heard.segments
