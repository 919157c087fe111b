"""Jobs: what a command does, step by step.

    scheduled.py       run, then the steps of [after_run], and the summary
    demo.py            a month of a generated account
    run.py             land, publish, catalog, compact
    rebuild.py         publish landed runs that the lake lacks
    redaction.py       remove the secrets that an older version stored
    land.py            list the accounts into a raw file, with the decision about each
    list.py            images live, without a lake
    accounts.py        select the accounts
    same_account.py    find accounts that are listed under two names
    volume_guard.py    refuse an account that lost most of its images
    compaction.py      retention.py and withdrawal.py too: what changes a lake
    loss.py            accept the loss of what nothing brings back
    maintenance.py     the steps that these three share
    export.py          views to files
    status.py          freshness
    doctor/            check what a run depends on
    emulate.py         a local endpoint

A module imports only from modules below it.
"""
