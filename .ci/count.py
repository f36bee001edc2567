"""Add up the test results in a folder of JUnit files and print them as one plain line."""

import sys
from pathlib import Path
from xml.etree import ElementTree

COUNTS = ("tests", "failures", "errors", "skipped")


def main(folder: str) -> None:
    total = dict.fromkeys(COUNTS, 0)
    for path in sorted(Path(folder).glob("*.xml")):
        for suite in ElementTree.parse(path).getroot().iter("testsuite"):
            for name in COUNTS:
                total[name] += int(suite.get(name, 0))
    failed = total["failures"] + total["errors"]
    print(f"{total['tests'] - failed - total['skipped']} passed, {failed} failed, {total['skipped']} skipped")


if __name__ == "__main__":
    main(sys.argv[1])
