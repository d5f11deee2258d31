"""Container images of others: resolved once by digest, signed by whom, in the store for builds without a network."""
