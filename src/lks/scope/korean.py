"""Korean particles, which are written onto the word before them: 서울은, 서울에서, NASA의."""

from __future__ import annotations

import re

# Of two syllables only those that take no syllable of the name: Sahara is 사하라, hence no 라는.
_PARTICLES = [
    "은",
    "는",
    "이",
    "가",
    "을",
    "를",
    "의",
    "에",
    "와",
    "과",
    "도",
    "만",
    "로",
    "으로",
    "랑",
    "이랑",
    "나",
    "이나",
    "란",
    "이란",
    "에서",
    "에게",
    "에게서",
    "한테",
    "께",
    "께서",
    "서",
    "까지",
    "부터",
    "보다",
    "처럼",
    "마저",
    "조차",
    "하고",
    "이다",
    "이며",
    "이고",
    "이라고",
    "라고",
    "입니다",
    "인가요",
    "이야",
    "야",
    "씨",
    "님",
]
_ENDED = re.compile(rf"([^가-힣]+|.{{2,}}?)(?:{'|'.join(_PARTICLES)})+")


def particles(word: str) -> int:
    """Where the particles at the end of a word begin; its length where there are none.

    At least two syllables are left, or a word in other letters.
    """
    if not word or not "가" <= word[-1] <= "힣":
        return len(word)
    found = _ENDED.fullmatch(word)
    return found.end(1) if found else len(word)
