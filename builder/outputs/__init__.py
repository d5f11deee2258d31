"""From a finished tree to artifacts: root, initrd, UKI, disk, and the formats that clouds take."""
