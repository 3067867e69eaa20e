"""The one exception that means "the user can mend this"."""


class UserError(ValueError):
    """Bad input, told in one line: what is wrong, what was expected, what came, how to mend it.

    The binaries print the message without a traceback and exit with status 1. Anything else that is raised is a defect
    of this package and keeps its traceback.
    """
