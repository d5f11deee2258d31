"""Numbers, not verdicts: ``python -m tests.bench`` (``make bench``)."""
