"""DescribeSelfImages: the custom images of an account, as published.

    ImageId, ImageName (a part), SnapshotId (whole)  →  {"Code": 0, "Images": {"Image": […]}, "TotalCount": "143", …}

Page numbers, sizes and counts are text, Code is a number. A page has 10 images by default, at most 50.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.emulator.action import Action, Children, Filter

if TYPE_CHECKING:
    from pipeline.emulator.accounts import EmulatedAccount
    from pipeline.emulator.action import Item, ListResponse


def list_images(account: EmulatedAccount, day: int) -> list[Item]:
    """Return the images of an account on a day, in listing order."""
    return account.images_on(day)


def new_image(account: EmulatedAccount, serial: int, day: int) -> Item:
    """Generate an image that the account has on no day."""
    return account.new_image(serial, day)


def build_envelope(response: ListResponse) -> dict[str, Any]:
    """Build the response body."""
    return {
        "Code": 0,
        "Images": {"Image": response.items},
        "RequestId": response.request_id,
        "PageSize": str(response.page_size),
        "PageNumber": str(response.page_number),
        "TotalCount": str(response.total_count),
    }


ACTION = Action(
    name="DescribeSelfImages",
    list_path=("Images", "Image"),
    id_field="ImageId",
    filters=(Filter("ImageId"), Filter("ImageName"), Filter("SnapshotId", is_exact=True)),
    default_page_size=10,
    largest_page_size=50,
    list_items=list_images,
    new_item=new_image,
    build_envelope=build_envelope,
    number_fields=("ImageSize", "ImageStorageSize"),
    children=(Children("DiskDeviceMappings", "DiskDeviceMapping", number_fields=("Size",)),),
    owner_field="ImageOwnerAlias",
    bad_values={"ImageSize": "twenty", "CreationTime": "yesterday", "ImageName": {"zh": "镜像"}},
)
