"""Schemes of URLs: one file each, with ``download(download, sink)``, which raises NotFound or FetchError."""
