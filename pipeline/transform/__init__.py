"""Turn raw pages into typed tables and rejects: pure functions, no files, no network.

    assemble       flatten(): pages → items, child items, rejects
      parse            pages → columns of text, by pyarrow's JSON reader
        parse_irregular    the same, value by value, for anything that is not as published
      cast             columns of text → declared types; what does not fit becomes a reject
      text_columns     the columns of text between the two

A module serves the module above it that is indented less.
"""
