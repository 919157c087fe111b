"""DescribeImageSharePermission: the accounts that an image is shared with, as published.

    ImageId  →  {"ImageId": "m-5…", "Accounts": {"Account": [{"AliyunUid": "1515…"}]}, "TotalCount": 1, …}

Page numbers, sizes and counts are numbers, though both are text in the request; there is no Code. A page has 10
accounts by default, at most 100. An image that is shared with nobody, or is not the account's own, has none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.emulator.accounts import AccountWithShares
from pipeline.emulator.action import Action, Filter
from pipeline.emulator.rng import seeded_rng

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.emulator.accounts import EmulatedAccount
    from pipeline.emulator.action import Item, ListResponse

IMAGE_ID = "ImageId"


class Share(dict[str, Any]):
    """An account that an image is shared with; the image is a parameter of the request, and no field of the answer."""

    def __init__(self, image_id: str, aliyun_uid: str) -> None:
        super().__init__(AliyunUid=aliyun_uid)
        self.image_id = image_id


class SharedImage(Filter):
    """The parameter that names the image."""

    def texts(self, item: Item) -> Iterator[str]:
        """Yield the image."""
        if isinstance(item, Share):
            yield item.image_id


def list_shares(account: EmulatedAccount, day: int) -> list[Item]:
    """Return the accounts that each image of a day is shared with, image by image."""
    if not isinstance(account, AccountWithShares):
        return []
    images = [image[IMAGE_ID] for image in account.images_on(day) if isinstance(image.get(IMAGE_ID), str)]
    return [Share(image_id, uid) for image_id in images for uid in account.shared_with(image_id)]


def new_share(account: EmulatedAccount, serial: int, day: int) -> Item:  # noqa: ARG001  (the same for any account)
    """Generate an account that no image is shared with."""
    return {"AliyunUid": f"19{seeded_rng('share', serial).randrange(10**14):014}"}


def build_envelope(response: ListResponse) -> dict[str, Any]:
    """Build the response body."""
    image_id = next((wanted[0] for each, wanted in response.query.filters if each.name == IMAGE_ID), "")
    return {
        IMAGE_ID: image_id,
        "Accounts": {"Account": response.items},
        "RequestId": response.request_id,
        "PageSize": response.page_size,
        "PageNumber": response.page_number,
        "TotalCount": response.total_count,
    }


ACTION = Action(
    name="DescribeImageSharePermission",
    list_path=("Accounts", "Account"),
    id_field="AliyunUid",
    filters=(SharedImage(IMAGE_ID, is_exact=True),),
    default_page_size=10,
    largest_page_size=100,
    list_items=list_shares,
    new_item=new_share,
    build_envelope=build_envelope,
    bad_values={"AliyunUid": {"zh": "账号"}},
)
