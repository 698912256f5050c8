"""Korean particles, which are written onto the word before them: 서울은, 서울에서, NASA의."""

from __future__ import annotations

# Of two syllables only those that take no syllable of the name: Sahara is 사하라, hence no 라는.
_TABLE = """
은 는 이 가 을 를 의 에 와 과 도 만 로 으로 랑 이랑 나 이나 란 이란 서 에서 에게 에게서 한테
께 께서 까지 부터 보다 처럼 마저 조차 하고 이다 이며 이고 라고 이라고 입니다 인가요 야 이야 씨 님
"""
PARTICLES = frozenset(_TABLE.split())
_LONGEST = max(map(len, PARTICLES))


def particles(word: str) -> int:
    """Where the particles at the end of a word begin; its length where there are none.

    At least two syllables are left, or a letter of another script.
    """
    end = len(word)
    if not word or not _syllable(word[-1]):
        return end
    begins = [end]  # from each of these on there are only particles, the first one last
    for place in range(end - 1, 1 if _syllable(word[0]) else 0, -1):
        if begins[-1] - place > _LONGEST:
            break
        if any(word[place:stop] in PARTICLES for stop in begins[-_LONGEST:]):
            begins.append(place)
    return begins[-1]


def _syllable(char: str) -> bool:
    return "가" <= char <= "힣"
