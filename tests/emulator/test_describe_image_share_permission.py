"""DescribeImageSharePermission answers as published: envelope, pages, an image that is shared with nobody."""

from __future__ import annotations

from alibabacloud_ens20171110 import models
from signed_calls import call, vendor_client

from pipeline.emulator import Endpoint, Key, living_account

ACCOUNT = living_account(images=143, seed=1)
ACTION = "DescribeImageSharePermission"


class Widely:
    """An account that shares one of its images with 237 accounts."""

    def __init__(self) -> None:
        self.image_id = ACCOUNT.images_on(0)[0]["ImageId"]
        self.uids = [f"15{number:014}" for number in range(237)]

    def images_on(self, day):
        return ACCOUNT.images_on(day)

    def new_image(self, serial, day):
        return ACCOUNT.new_image(serial, day)

    def shared_with(self, image_id):
        return self.uids if image_id == self.image_id else ()


def test_the_answer_names_the_image_and_the_accounts_as_published():
    image_id = next(x["ImageId"] for x in ACCOUNT.images_on(0) if len(ACCOUNT.shared_with(x["ImageId"])) > 1)
    uids = ACCOUNT.shared_with(image_id)

    with Endpoint({"emulator": Key("emulator", ACCOUNT)}) as endpoint:
        body = call(endpoint, {"ImageId": image_id, "PageSize": "100"}, x_acs_action=ACTION).body

    assert body.pop("RequestId")
    assert body == {
        "ImageId": image_id,
        "Accounts": {"Account": [{"AliyunUid": uid} for uid in uids]},
        "PageSize": 100,
        "PageNumber": 1,
        "TotalCount": len(uids),
    }


def test_the_vendor_client_reads_every_page():
    account = Widely()
    with Endpoint({"emulator": Key("emulator", account)}) as endpoint:
        client = vendor_client(endpoint)
        pages = [
            client.describe_image_share_permission(
                models.DescribeImageSharePermissionRequest(
                    image_id=account.image_id, page_number=str(number), page_size="500"
                )
            ).body
            for number in (1, 2, 3)
        ]

    assert [one.aliyun_uid for page in pages for one in page.accounts.account] == account.uids
    assert [(page.image_id, page.page_size, page.total_count) for page in pages] == [(account.image_id, 100, 237)] * 3


def test_an_image_that_is_shared_with_nobody_or_is_not_listed_has_no_accounts():
    account = Widely()
    other = ACCOUNT.images_on(0)[1]["ImageId"]
    with Endpoint({"emulator": Key("emulator", account)}) as endpoint:
        bodies = [call(endpoint, {"ImageId": one}, x_acs_action=ACTION).body for one in (other, "m-none")]

    assert [(body["ImageId"], body["Accounts"], body["TotalCount"]) for body in bodies] == [
        (other, {"Account": []}, 0),
        ("m-none", {"Account": []}, 0),
    ]
