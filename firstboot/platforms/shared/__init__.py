"""What several platforms have in common: metadata services, config drives, documents."""
