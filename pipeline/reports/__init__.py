"""Read the lake: reports, queries, exports and the data dictionary.

    html/            the standing reports as one HTML page
    diff/            compare the lake at two instants
    report.py        write the standing reports: terminal, CSV, JSON, Markdown
    database.py      write the whole lake to one DuckDB file
    export.py        write tables and views to files, and to standard output
    standing/        each standing report, declared once
    questions.py     common questions and their SQL, of questions.sql
    dictionary.py    every table, view and column, with its meaning
    formats/         output formats, one module each
    provenance.py    the provenance line of an answer
    terminal.py      tables, bars, sparklines, progress
    query.py         run SQL, or read a table or view by name

A module imports only from modules below it.
"""
