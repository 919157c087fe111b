"""Read accounts over the API, page by page, until each listing is proven complete.

    listing        extract(): all accounts concurrently; why two equal passes are a proof
      reader       one account: pass after pass, until the level is proven or the bounds are reached
        page_reader    one page: requested until free of contradictions; every answer landed
        listing_pass   one pass: accepted pages, how many more, doubts about a page
        bounds         the limits of it all
        time_limit     how long a listing may take
      client       one signed call, over one HTTP session
        body         the bytes of one answer, received and unpacked within bounds
        retry, rate_limit, signing, call_error, attempt
        endpoint, event_loop, probe
    completeness   the level that answers prove, and the evidence       (pure)
      response     one decoded answer                                   (pure)
        json_repair    placeholders for what cannot be decoded          (pure)
        doubled_keys   keys that stand twice in one object              (pure)
    reading_version    the meaning of an answer's bytes, over releases
    raw_pages      the answers of a run on disk, as received

A module serves the module above it that is indented less.
"""
