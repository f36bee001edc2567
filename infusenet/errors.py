"""What can go wrong for a user. Every message says what was expected, what came, and what to do next."""

import errno
import importlib
import re
import sys


class InfuseNetError(Exception):
    """Base of all errors that a user can cause and mend. The command prints the message alone and exits with code 2."""


class WeightsError(InfuseNetError):
    """A weight file is missing, damaged, or holds another model."""


class PictureError(InfuseNetError):
    """A picture cannot be read or used."""


class FaceError(InfuseNetError):
    """A picture shows no face, too small a face, or several faces where one must be chosen."""


class PackageError(InfuseNetError):
    """A package is missing or broken; the message holds the command that installs it."""

    @classmethod
    def of(cls, error: ImportError) -> "PackageError":
        """What to do about an import that failed: which distribution is missing, by the module that was not found."""
        module = (error.name or "").partition(".")[0]
        distribution = _DISTRIBUTIONS.get(module, module)
        if not isinstance(error, ModuleNotFoundError) or not module:
            again = pip_command("install --force-reinstall --no-deps", distribution) if module else "install it again"
            return cls(f"A package could not be imported ({error}). Run: {again}" if module else f"{error}. {again}.")
        return cls(f"The package {distribution} is not installed. Run: {pip_command('install', distribution)}")


_DISTRIBUTIONS = {  # where pip knows a module by another name
    "cv2": "opencv-python-headless",
    "google": "protobuf",
    "PIL": "pillow",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}


def pip_command(*arguments: str) -> str:
    """The command that runs pip for this very Python, to be copied."""
    return " ".join([f'"{sys.executable}"' if " " in sys.executable else sys.executable, "-m pip", *arguments])


def require(*modules: str) -> None:
    """Find out now, not after minutes of work, that a package is missing.

    Raises:
        PackageError: one of the modules cannot be imported.
    """
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise PackageError.of(error) from error


class SettingsError(InfuseNetError):
    """A value is outside what the call accepts."""


class NotFiniteError(InfuseNetError):
    """A result holds NaN or infinity."""


class MachineError(InfuseNetError):
    """The machine lacks memory, threads or open files."""


def one_line(text: object, longest: int = 400) -> str:
    """A text in one line that a terminal shows as it is: what it would obey is spelled out, and no word is endless."""
    first, last = longest // 2, longest // 4
    words = (word if len(word) <= longest else f"{word[:first]}...{word[-last:]}" for word in str(text).split())
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in " ".join(words))


def reason_of(error: Exception) -> str:
    """The kind of an error and its words, in short: its `repr` may hold all that was read."""
    return f"{type(error).__name__}: {one_line(error, 100)}"


_WANT = re.compile(
    "start new thread|pthread_create|resource temporarily unavailable|bad_alloc|bad allocation|allocate memory|"
    "not enough memory|out of memory|too many open files|no space left",
    re.IGNORECASE,
)
_NUMBERS = (errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOSPC)


def raise_if_in_want(error: Exception, doing: object) -> None:
    """Tell a failure for want of memory, threads, files or room from a damaged file, of which it says nothing.

    Args:
        error: what was raised.
        doing: what was being read, for the message.

    Raises:
        MachineError: that is what the error says.
    """
    if isinstance(error, MemoryError) or getattr(error, "errno", None) in _NUMBERS or _WANT.search(str(error)):
        reason = " ".join(str(error).split())[:120] or "out of memory"
        raise MachineError(
            f"The machine is out of memory, threads, open files or disk space ({reason}). {doing} may be fine. "
            "Close other programs or raise the limit, then try again."
        ) from error
