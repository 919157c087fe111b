"""One account, page by page, until its listing is proven."""
