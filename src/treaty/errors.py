"""The one error of this package: a document that cannot be used as it stands."""


class TreatyError(Exception):
    """A document cannot be used; the text is one sentence that names the place and the fix."""
