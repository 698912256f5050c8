"""Which values of a relation a text cannot be, by its form. Only kinds whose form is sure are told.

The words are English, and rather too many: a text that might be the value is let through.
"""

from __future__ import annotations

import re

from lks.scope.bank.words import words_in

COUNTS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen
    fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty
    ninety hundred hundreds thousand thousands million millions billion billions dozen dozens half
    quarter quarters third thirds all none nothing no"""
MONEY = """free gratis complimentary included cent cents penny pence dollar dollars euro euros pound
    pounds franc francs"""
TIMES = """january february march april may june july august september october november december
    jan feb mar apr jun jul aug sep sept oct nov dec monday tuesday wednesday thursday friday
    saturday sunday mondays tuesdays wednesdays thursdays fridays saturdays sundays mon tue tues wed
    thu thurs fri sat sun day days daily weekday weekdays weekend weekends week weeks weekly month
    months monthly quarterly year years yearly annual annually decade century age ages era season
    spring summer autumn fall winter morning mornings noon midday afternoon afternoons evening
    evenings night nights midnight dawn dusk sunrise sunset today tomorrow tonight yesterday now
    soon ever never always once hour hours hourly clock easter christmas eve first second fourth
    fifth last next since until till before after during between from early late mid lunch holiday
    holidays start end beginning immediately open closed"""

FORMS = {  # what stands in such a value
    "phone": r"\d",
    "email": r"\S@\S",
    "url": r"^\S*[./:]\S*$",
    "person": r"^[^\d@]+$",
}
WORDS = {  # a digit stands in such a value, or one of the words
    "percent": COUNTS,
    "percentage": COUNTS,
    "price": f"{COUNTS} {MONEY}",
    "date": f"{COUNTS} {TIMES}",
    "year": f"{COUNTS} {TIMES}",
    "time": f"{COUNTS} {TIMES}",
}


def values_unlike(target: str) -> frozenset[str]:
    """The kinds of value that an English target cannot be."""
    text = target.strip(" .")
    unlike = {value for value, form in FORMS.items() if not re.search(form, text)}
    if not re.search(r"\d", text):
        words = words_in([text])
        unlike |= {value for value, known in WORDS.items() if words.isdisjoint(known.split())}
    return frozenset(unlike)
