"""Count words of a text: per line in workers, and once more without any.

It is the second program of rainwoodman's README. The text is that of `help()`, which
comes with Python, or a file that is named as an argument.
"""

from __future__ import annotations

import sys
from pydoc_data import topics

import sharedmem


def count(lines: list[str], *words: str) -> dict[str, int]:
    word_count = dict.fromkeys(words, 0)

    with sharedmem.MapReduce() as pool:

        def work(line: str) -> dict[str, int]:
            my_word_count = dict.fromkeys(words, 0)
            for word in line.replace(".", " ").split():
                if word in my_word_count:
                    my_word_count[word] += 1
            return my_word_count

        def reduce(her_word_count: dict[str, int]) -> None:
            for word in word_count:
                word_count[word] += her_word_count[word]

        pool.map(work, lines, reduce=reduce)
        parallel_result = dict(word_count)

        # Establish the ground truth with the sequential counter.
        sharedmem.set_debug(True)
        word_count = dict.fromkeys(words, 0)
        pool.map(work, lines, reduce=reduce)
        sharedmem.set_debug(False)

    assert word_count == parallel_result
    return parallel_result


if __name__ == "__main__":
    path = sys.argv[1] if len(sys.argv) > 1 else topics.__file__
    with open(path, encoding="utf-8") as text:
        lines = text.readlines()
    for word, times in count(lines, "the", "statement", "object", "sharedmem").items():
        print(f"{word:12} {times:6}")
