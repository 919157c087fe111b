"""The control tables: observations, rejects, raw pages."""

from __future__ import annotations

from pipeline.resources.columns import ACCOUNT, OBSERVED_AT, OBSERVED_ON, RESOURCE
from pipeline.resources.schema import ADDED, Table, boolean, day, integer, raw_bytes, seconds, text, timestamp_utc

REJECTS = Table(
    name="rejects",
    grain="One value that could not be typed; it is null in its row, and the rest of the row stays.",
    key=(),
    columns=(
        ACCOUNT,
        RESOURCE,
        OBSERVED_AT,
        OBSERVED_ON,
        text(
            "item_id",
            ADDED,
            "The image or other item that it belongs to; null where that has no usable id.",
            renamed_from="image_id",
        ),
        text("field", ADDED, "The API field, such as `ImageSize` or `DiskDeviceMapping[2].Size`."),
        text("reason", ADDED, "Why it could not be typed."),
        text("raw_json", ADDED, "The value as it was sent, as JSON text."),
    ),
    example="select field, reason, count(*) as reject_count from rejects group by field, reason",
    format="5",
)

OBSERVATIONS = Table(
    name="observations",
    grain="A resource of an account in one run, tried or done. What has no published observation is not in the lake.",
    key=("account", "resource", "run_id"),
    columns=(
        ACCOUNT,
        RESOURCE,
        text("run_id", ADDED, "The run, named for the instant at which it began; the name of its files."),
        timestamp_utc("observed_at_utc", ADDED, f"{OBSERVED_AT.doc} Null where no listing came to an end."),
        OBSERVED_ON,
        boolean("is_published", ADDED, "True where the run's rows of this account are in the lake."),
        text("certificate", ADDED, "What the listing proves: verified, counted, unproven; null where none ended."),
        text("asked_certificate", ADDED, "The level that was asked for."),
        integer(
            "pass_count", ADDED, "Readings from page 1 on, each to the end of the list or until a proof was found."
        ),
        integer(
            "page_count",
            ADDED,
            "Answers whose rows are published: those that show the instant; else the pages of the last pass.",
        ),
        integer("call_count", ADDED, "Tries of calls, answered or not; of images, those of `share_check` too."),
        integer("retry_count", ADDED, "Tries that followed a try without a usable answer."),
        integer("throttle_count", ADDED, "Tries that the service refused as too many."),
        seconds("waited_seconds", ADDED, "Time spent backing off before tries."),
        integer(
            "recovered_answer_count",
            ADDED,
            "Answers that did not hold together, and did when asked again.",
            renamed_from="hiccup_count",
        ),
        integer("clamp_count", ADDED, "Answers with fewer rows a page than asked for, and saying so."),
        integer("drift_count", ADDED, "Answers with another TotalCount than the first of their pass."),
        integer("contradiction_count", ADDED, "Answers that did not hold together however often they were asked."),
        integer(
            "total_count",
            "TotalCount",
            "TotalCount at the instant; else of the first answer of the last pass; null where not sent.",
        ),
        text(
            "ids_sha256",
            ADDED,
            "SHA-256 over the sorted ids at the instant, else of the last pass: equal sets, equal digests.",
            renamed_from="image_ids_sha256",
        ),
        text(
            "first_request_id",
            "RequestId",
            "The service's name for the answer at the instant; else for the first of the last pass.",
        ),
        text("last_request_id", "RequestId", "The service's name for the last answer of the listing."),
        integer(
            "item_count",
            ADDED,
            "Images, or other items, at the instant, else in the last pass, each counted once.",
            renamed_from="image_count",
        ),
        integer("child_item_count", ADDED, "Their children: the disks of the images.", renamed_from="disk_count"),
        integer("reject_count", ADDED, "Values that could not be typed."),
        integer("unknown_field_count", ADDED, "Different fields that this version does not know, kept in `extra`."),
        timestamp_utc("started_at_utc", ADDED, "When the first call was sent."),
        timestamp_utc("ended_at_utc", ADDED, "When the last answer came."),
        text("error", ADDED, "Why nothing was published; null where it was."),
        text("code_version", ADDED, "Version of ens-images that read the account."),
        text("endpoint", ADDED, "Where the calls went."),
        integer(
            "reading_version",
            ADDED,
            "How the answers were read; null in a record that an older version wrote, which means 1.",
            since="0.1.0",
        ),
        text(
            "proof",
            ADDED,
            "How a verified listing is proven: `one page`, `quiet`, `instant`; `two passes` by an older version.",
            since="0.1.0",
        ),
        text(
            "rests_on_run_id",
            ADDED,
            "The run whose images are seen before the instant; null where this listing alone proves it.",
            since="0.1.0",
        ),
        integer(
            "witness_here_count",
            ADDED,
            "Images that were seen before the instant by this listing, and not by `rests_on_run_id`.",
            since="0.1.0",
        ),
        integer("witness_before_count", ADDED, "Images that were seen by `rests_on_run_id`.", since="0.1.0"),
        integer("left_to_next_count", ADDED, "Images created after the instant, left to the next run.", since="0.1.0"),
        seconds("settle_seconds", ADDED, "Time that was kept between the instant and its witnesses.", since="0.1.0"),
        boolean(
            "is_round_total",
            ADDED,
            "True where TotalCount is a round number, such as 1,000: a service that cuts lists would cut there.",
            since="0.1.0",
        ),
        integer(
            "returned_count",
            ADDED,
            "Images that an earlier observation had, the last one had not, and this listing has again.",
            since="0.1.0",
        ),
        boolean(
            "is_quiet_only",
            ADDED,
            "True where two passes without a change alone could prove it: answers of the account went back in time.",
            since="0.1.0",
        ),
        integer(
            "server_clock_back_count",
            ADDED,
            "Answers whose `Date` is more than a second before that of an earlier answer.",
            since="0.1.0",
        ),
        seconds(
            "server_clock_offset_seconds",
            ADDED,
            "How far the service's clock was ahead of the local one, at most; negative: behind.",
            since="0.1.0",
        ),
        integer(
            "beyond_total_count",
            ADDED,
            "Rows at positions beyond the TotalCount of their own answer.",
            since="0.1.0",
        ),
        boolean(
            "is_total_constant",
            ADDED,
            "True where images came or went while the account was read, and TotalCount was the same in every answer.",
            since="0.1.0",
        ),
        text(
            "committed_files",
            ADDED,
            "The files of the run as they were committed: JSON with the size in bytes and the SHA-256 of each; null in "
            "a record that an older version wrote.",
            since="0.1.0",
        ),
        text(
            "same_account_as",
            ADDED,
            "The account that this one is another name of: views count it there. Found by common ids of owned images, "
            "or set in `[[accounts]]`. Null where the account is counted, and where an older version wrote the record.",
            since="0.1.0",
        ),
        text(
            "image_shares",
            ADDED,
            "With how many accounts images are shared: JSON, an object for each image that the run asked for and that "
            "was answered; null where it did not ask. The view `image_shares` has a row for each.",
            since="0.1.0",
        ),
    ),
    example="select run_id, account, error from observations where not is_published order by run_id",
    format="5",
)

RAW_PAGES = Table(
    name="raw_pages",
    grain="One try of one call, with the answer's bytes as they came; secrets are removed from what is no listing.",
    key=("resource", "account", "pass_number", "page_number", "attempt_number"),
    columns=(
        RESOURCE,
        ACCOUNT,
        OBSERVED_ON,
        integer("pass_number", ADDED, "Which reading of the whole account, from 1."),
        integer("page_number", ADDED, "The PageNumber that was asked for."),
        integer("attempt_number", ADDED, "Which try of this page in this pass, from 1; the last usable one counts."),
        text(
            "request_id",
            "RequestId",
            "The service's name for the call; null where there was no answer.",
            is_distinct=True,
        ),
        integer("status", ADDED, "HTTP status; null where no whole answer came."),
        timestamp_utc("sent_at_utc", ADDED, "When the call was sent."),
        timestamp_utc("received_at_utc", ADDED, "When the answer was complete, or the try given up."),
        seconds("waited_seconds", ADDED, "Back-off before this try."),
        text("error_code", "Code", "The service's error code, or ours for what has none; null where all was well."),
        text("error", ADDED, "What went wrong with this try; null where all was well."),
        timestamp_utc("server_at_utc", ADDED, "The `Date` of the answer: the service's clock.", since="0.1.0"),
        raw_bytes(
            "body",
            ADDED,
            "The answer's body, unpacked: a listing byte for byte; of any other, such as one whose status is not 200, "
            "the first 64 KiB without the secrets that it quotes, so that it may differ from the wire; null where "
            "nothing came.",
        ),
    ),
    example="select account, error_code, count(*) as page_count from raw_pages group by account, error_code",
    format="5",
    renamed_from="pages",
)

PARTITIONS = Table(
    name="partitions",
    grain="The Parquet folder of one table, `lake/<table>/observed_on=<day>/`: from which day on it holds every day.",
    key=("table_name",),
    columns=(
        text("table_name", ADDED, "The table; the tables and views show every day, whatever its folder holds."),
        day("first_day_utc", ADDED, "The first day of the lake."),
        day("complete_from_utc", ADDED, "From this day on, the folder holds every day; null where it holds none."),
        text(
            "missing_because",
            ADDED,
            "Who deleted the earlier days: `retention`, which the user has set, or `an older version`; else null.",
        ),
        integer("file_count", ADDED, "Files of these days, one for each run that wrote the table."),
        integer(
            "size_bytes",
            ADDED,
            "Their size in bytes, as committed; null where an older version committed one without its size.",
        ),
    ),
    example="select table_name, complete_from_utc, size_bytes / 1024**3 as size_gib from partitions",
)
