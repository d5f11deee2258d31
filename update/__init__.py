"""Updates of a machine: what publisher and machine agree on. It runs in the guest, on the standard library alone."""
