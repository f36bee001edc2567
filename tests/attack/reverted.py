"""Take mends back, one at a time, in a copy of the package, and show after how many odd inputs each is found again.

python tests/attack/reverted.py            300 cases a surface for each; some minutes
python tests/attack/reverted.py bounds     those whose name contains the word
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from mutate import Mistake, copy_to, tests_the_copy

WEIGHTS, PICTURES, SETTINGS = (f"tests/attack/test_{name}.py" for name in ("weights", "pictures", "settings"))
MENDS = (
    Mistake(
        "finite: tokens, latents and pictures may hold NaN",
        "infusenet/adapters/base.py",
        "if not bool(values.isfinite().all()):",
        "if False:",
        (WEIGHTS,),
    ),
    Mistake(
        "kinds: whole and complex numbers are taken for weights",
        "infusenet/weights/files.py",
        'return "float" in _kind(tensor) or key.endswith(_NOT_CHECKED)',
        "return True",
        (WEIGHTS,),
    ),
    Mistake(
        "headers: nested ones and null offsets break off",
        "infusenet/weights/formats.py",
        "except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:",
        "except (ValueError, KeyError, IndexError) as error:",
        (WEIGHTS,),
    ),
    Mistake(
        "bounds: a request takes any number",
        "infusenet/generate.py",
        '"""Raise SettingsError where a value cannot be meant."""',
        "return",
        (SETTINGS,),
    ),
    Mistake(
        "places: what is written may be an input",
        "infusenet/cli/picture.py",
        "if real in inputs or (path.exists() and os.path.dirname(real) in folders):",
        "if False:",
        (SETTINGS,),
    ),
    Mistake(
        "pickles: one that contains itself is unwrapped for ever",
        "infusenet/weights/formats.py",
        "for _ in _WRAPPERS:  # at most once each: a pickle may contain itself",
        "while isinstance(held, Mapping) and any(isinstance(held.get(key), Mapping) for key in _WRAPPERS):",
        (WEIGHTS,),
    ),
    Mistake(
        "pixels: NaN blackens a picture",
        "infusenet/files.py",
        "np.nan_to_num(np.asarray(image).astype(np.float64), posinf=0, neginf=0)",
        "np.asarray(image).astype(np.float64)",
        (PICTURES,),
    ),
    Mistake(
        "want: lack of memory is told as a damaged file",
        "infusenet/errors.py",
        'if isinstance(error, MemoryError) or getattr(error, "errno", None) in _NUMBERS or _WANT.search(str(error)):',
        "if False:",
        (WEIGHTS,),
    ),
)


def found(folder: Path, mend: Mistake) -> str | None:
    """The first fault in the surface's cases without a mend, which is put back."""
    path = folder / mend.file
    text = path.read_text(encoding="utf-8")
    if text.count(mend.right) != 1:
        sys.exit(f"{mend.name}: expected {mend.right!r} exactly once in {mend.file}. Bring this list up to date.")
    path.write_text(text.replace(mend.right, mend.wrong), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *mend.tests]
    environment = {"INFUSENET_ATTACK": "300"} | os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=3600)
    finally:
        path.write_text(text, encoding="utf-8")
    told = re.search(r"^_+ (test_\w+) _+$.*?^case (\d+: .*?)$", done.stdout, re.MULTILINE | re.DOTALL)
    return f"{told[1]}, case {told[2][:160]}" if told else None


def main(words: list[str]) -> int:
    chosen, missed = [mend for mend in MENDS if all(word in mend.name for word in words)], 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        copy_to(folder)
        if not tests_the_copy(folder):
            sys.exit("The tests would import another infusenet than the copy: run from the checkout.")
        for mend in chosen:
            told = found(folder, mend)
            missed += told is None
            print(f"{'NOT FOUND' if told is None else 'found'}  {mend.name}\n       {told}", flush=True)
    print(f"{len(chosen)} mends taken back, {len(chosen) - missed} found again")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
