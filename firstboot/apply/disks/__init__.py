"""Block devices as the config wants them: partitions, RAID, encryption, filesystems, mounts."""
