"""Columns that several tables share."""

from __future__ import annotations

from pipeline.resources.schema import ADDED, day, text, timestamp_utc

ACCOUNT = text("account", ADDED, "Label of the credentials that were used: the profile's name, else `default`.")
RESOURCE = text("resource", ADDED, "The resource that was listed, such as `images`.", since="0.1.0", default="images")
OBSERVED_AT = timestamp_utc(
    "observed_at_utc",
    ADDED,
    "The instant at which the account looked like this: the first answer of the last pass of its listing.",
)
OBSERVED_ON = day("observed_on", ADDED, "UTC day on which the run began; the name of the folder.")
EXTRA = "JSON text of the fields that this version does not know; null where there are none."
