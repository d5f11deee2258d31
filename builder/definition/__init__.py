"""What the user writes: models, loading, checks, templates, the schema, and the files of ``init``."""
