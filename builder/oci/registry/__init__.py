"""A client of registries of container images (OCI distribution-spec 1.1)."""
