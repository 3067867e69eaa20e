"""Real English without a download: the reference manual that Python includes for its `help()`."""

import re

_RULE = re.compile(r"\s*([*=\-~^\"#+.])\1{2,}\s*")  # underlined headings
_WORD = re.compile(r"[a-z_][a-z0-9_]*(?:['.][a-z0-9_]+)*|\d+(?:\.\d+)*|[^\s\w]+")
PROSE = 0.6  # fraction of words among a paragraph's words, numbers and signs: grammar rules and programs have fewer
BLOCK = 20  # paragraphs that stay together
BLOCKS = ("train",) * 8 + ("valid", "test")


def splits() -> dict[str, list[list[str]]]:
    """Returns the manual as lower-case words, numbers and signs: 80 % train, 10 % valid, 10 % test.

    The manual quotes itself: each paragraph is used once, so that no text is in two splits. Its topics come in the
    order of their names, and of every ten blocks of paragraphs the last two are held out, so that all splits cover the
    same topics. The text is that of the running Python, so another version gives slightly different numbers.

    Returns:
        For each split its paragraphs, each a list of words.

    Raises:
        ImportError: This Python does not include its manual.
    """
    from pydoc_data import topics

    seen, kept = set(), []
    for name in sorted(topics.topics):
        for paragraph in re.split(r"\n\s*\n", topics.topics[name]):
            lines = [line.strip() for line in paragraph.split("\n") if not _RULE.fullmatch(line)]
            text = " ".join(filter(None, lines)).lower()
            words = _WORD.findall(text)
            spoken = sum(word[0].isalpha() or word[0] == "_" for word in words)
            if text not in seen and words and spoken >= PROSE * len(words):
                kept.append(words)
            seen.add(text)
    found: dict[str, list[list[str]]] = {split: [] for split in dict.fromkeys(BLOCKS)}
    for index, words in enumerate(kept):
        found[BLOCKS[index // BLOCK % len(BLOCKS)]].append(words)
    return found
