"""What the user writes: models, loading, checks, templates, the schema, and the files of ``init``."""

import os

# pydantic would look for plugins in all that is installed beside it, which takes longer than to read a definition.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
