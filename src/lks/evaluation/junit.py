"""Checks of facts as a JUnit report, which CI servers show: a test case for each check."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree as xml

from lks.evaluation.results import FactCheck

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_junit(checks: Sequence[FactCheck], name: str, seconds: float) -> str:
    """The report, XML.

    Args:
        name: of what was tested, such as a pack.
        seconds: what all checks took together.
    """
    failed = sum(not check.passed for check in checks)
    counts = {
        "name": _text(name),
        "tests": str(len(checks)),
        "failures": str(failed),
        "errors": "0",
        "time": f"{seconds:.1f}",
    }
    suites = xml.Element("testsuites", counts)
    suite = xml.SubElement(suites, "testsuite", counts)
    for check in checks:
        case = {"classname": _text(check.id), "name": _text(f"{check.kind}: {check.prompt}")}
        node = xml.SubElement(suite, "testcase", case)
        if not check.passed:
            failure = xml.SubElement(node, "failure", {"message": _text(f"wanted {check.wanted}")})
            fired = ", ".join(check.fired) or "none"
            failure.text = _text(f"wanted: {check.wanted}\nanswer: {check.answer}\nfired: {fired}")
    xml.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + xml.tostring(suites, "unicode") + "\n"


def _text(text: str) -> str:
    """The text, with a mark for each character that XML cannot hold."""
    return _NOT_XML.sub("\ufffd", text)
