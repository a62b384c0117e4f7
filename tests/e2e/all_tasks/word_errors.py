"""How wrong a transcript is: the word error rate, as speech recognition counts it."""

import re


def words(text: str) -> list[str]:
    """Return a text's words as they are compared: lower case, without punctuation."""
    return re.sub(r"[^\w\s']", " ", text.lower()).split()


def word_errors(truth: str, heard: str) -> int:
    """Count the words to be changed, added or taken away to get from one to the other."""
    wanted, found = words(truth), words(heard)
    row = list(range(len(found) + 1))
    for i, word in enumerate(wanted, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(found, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1]
