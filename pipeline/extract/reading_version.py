"""Versions of reading: the meaning of an answer's bytes.

1   the last of two equal keys counts; a creation time ends with Z and is of any year
2   equal keys in one object are an error; a creation time may have an offset and a fraction, and must be possible

The header of a raw file names the version that landed it, a commit record the one that its rows were read with. So
`rebuild` and `check` read old pages as they were read, and only `rebuild --into` reads them anew.
"""

from __future__ import annotations

from typing import Final

READING: Final = 2
"""The version that this release reads with."""
FIRST: Final = 1
"""The version of a raw file and of a commit record that name none."""
SINCE: Final = {2: "0.1.0"}
"""Version of reading → the release that introduced it."""
