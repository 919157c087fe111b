"""Who an image is shared with, declared as the list of accounts of one image.

No table of its own: a run asks for a few images only, and keeps the counts in `observations`.
"""

from __future__ import annotations

from pipeline.resources.resource import Action, Resource
from pipeline.resources.schema import text

IMAGE_SHARES = Resource(
    name="image_shares",
    noun="account",
    action=Action(
        "DescribeImageSharePermission",
        items=("Accounts", "Account"),
        page_size=100,
        permission="ens:DescribeImageSharePermission",
        filters=(("image_id", "ImageId"),),
    ),
    key=text("shared_account", "AliyunUid", "The number of the account that the image is shared with."),
    columns=(),
    is_optional=True,
)
