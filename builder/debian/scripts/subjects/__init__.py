"""What the commands of scripts do, one file a subject."""
