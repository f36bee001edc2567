"""What can go wrong for a user. Every message says what was expected, what came, and what to do next."""


class InfuseNetError(Exception):
    """Base of all errors that a user can cause and mend. The command prints the message alone and exits with code 2."""


class WeightsError(InfuseNetError):
    """A weight file is missing, damaged, or holds another model."""


class PictureError(InfuseNetError):
    """A picture cannot be read or used."""


class FaceError(InfuseNetError):
    """A picture shows no face, too small a face, or several faces where one must be chosen."""


class PackageError(InfuseNetError):
    """An optional package is missing or broken; the message holds the command that installs it."""


class SettingsError(InfuseNetError):
    """A value is outside what the call accepts."""


class NotFiniteError(InfuseNetError):
    """A result holds NaN or infinity."""
