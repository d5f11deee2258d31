"""Getting bytes from elsewhere: what a config names by a URL.

::

    fetcher = Fetcher(places.connector, platform, log.info)
    fetcher = fetcher.adapt_to(config.ignition)    # its timeouts, proxies and certificate authorities
    data = fetcher.fetch(resource)                   # decompressed, verified
    fetcher.fetch_into(resource, file)               # the same for something large

Each scheme of URLs is a file in ``schemes``.
"""
