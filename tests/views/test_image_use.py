"""Use of images: the views say what a plain model says, and never `unused` of an image that an instance named."""

from __future__ import annotations

import datetime as dt
from collections import Counter

import pytest
import use_model
from lake_builder import used, utc
from openpyxl import load_workbook

from pipeline import connect, run
from pipeline.credentials import key_account
from pipeline.emulator import Endpoint, Key, living_account
from pipeline.reports.export import export


def test_the_use_of_images_is_that_of_the_model_at_every_observation_and_unused_is_true(tmp_path):
    counts: Counter[str] = Counter()
    for seed in range(2):
        counts += use_model.compare(tmp_path / f"{seed}", seed, every=4)

    assert all(counts[each] for each in ("in use", "unused", "not known", "deleted", "never listed")), counts


@pytest.mark.usefixtures("every_resource")
def test_what_an_instance_of_a_living_account_names_is_in_use_the_rest_unused_once_the_right_is_there(tmp_path):
    emulated = living_account(images=55, seed=3, instances=40)
    key = Key("secret", emulated, permitted_days={"DescribeInstances": range(2, 99)})
    account = key_account("prod", "prod", "secret")
    with Endpoint({"prod": key}, faults=["throttling:p=0.1", "deletions:p=0.2"]) as endpoint:
        for day in range(4):
            endpoint.day = day
            at = utc("2026-10-01 02:00") + dt.timedelta(days=day)
            run(tmp_path, accounts=[account], endpoint=endpoint.url, rate=None, observed_at=at)

    use = "select use_status, image_id from image_use"
    for day in range(4):
        with connect(tmp_path, as_of=dt.date(2026, 10, 1) + dt.timedelta(days=day)) as con:
            named = {image_id for (image_id,) in con.execute("select image_id from instances_latest").fetchall()}
            found = con.execute(use).fetchall()
        if day < 2:
            assert {status for status, _ in found} == {"not known"}
        else:
            assert {image_id for status, image_id in found if status == "in use"} == named & {each for _, each in found}
            assert {image_id for status, image_id in found if status == "unused"} == {each for _, each in found} - named
            assert 0 < len(named & {each for _, each in found}) < len(found)


def test_use_in_a_workbook(tmp_path):
    used(tmp_path / "data")
    with connect(tmp_path / "data") as con:
        count = export(con, "image_use", tmp_path / "use.xlsx")
    rows = list(load_workbook(tmp_path / "use.xlsx")["image_use"].iter_rows(values_only=True))
    of_use = {dict(zip(rows[0], row, strict=True))["use_status"] for row in rows[1:]}
    assert (count, of_use) == (11, {"in use", "unused", "not known"})
