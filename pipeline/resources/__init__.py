"""The declared tables and columns: what is collected, declared once.

    schema.py     Table, Column and their kinds; what follows from a declaration
    columns.py    columns that several tables share
    resource.py   Resource, its action and its child items; the tables that follow from it
    images.py     images, image_disks, image_versions
    instances.py  instances, instance_disks, instance_versions; not listed by a run yet
    control.py    observations, rejects, raw_pages
    tables.py     every resource, every table, and the tables of a compaction

A module imports only from modules above it.
"""
