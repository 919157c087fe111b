"""The lake as a DuckDB database.

model.py         Relation, ColumnDoc, Setting: plain data
parameters.py    the thresholds of views, and how they are changed
catalog.py       every table and view, read from its declaration or its .sql file
read_only.py     SQL of users: queries only, files of the lake only
account_names.py    accounts with several names: which one is counted
state.py         each account's latest observation, and how much of it is compacted
records.py       the commit records, read row by row
published.py     the published observations: of new runs row by row, of compacted runs by account
as_of.py         an instant of the lake, as a user writes it
versions_script.py    the query of image_versions
script.py        the SQL script that makes all tables and views
static_views.py  what of it is the same for every lake, kept by each machine
database_file.py, database.py    lake.duckdb, written after each commit
connection.py    connect()
sql/             one file for each view
"""
