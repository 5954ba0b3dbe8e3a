"""Where is listened, and where a dialect is mounted."""

import re

from dragoman.settings.errors import SettingsError


def mount_prefix(prefix: str, where: str) -> str:
    """Return *prefix*, which must be one; *where* names it, and shows it, in errors."""
    if not re.fullmatch(r"/|(/[A-Za-z0-9_-]+)+", prefix):
        message = f"{where} is no mount; write /prefix=dialect, or /=dialect for the root"
        raise SettingsError(message)
    return prefix


def port_number(text: str, where: str) -> int:
    """Return the port in *text*; *where* names it in errors."""
    # 65535 is the largest port (RFC 9293, section 3.1); 0 takes a free one.
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:  # noqa: PLR2004
        message = f"{where}: {text!r} is no port; give a number from 0 to 65535"
        raise SettingsError(message)
    return int(text)
