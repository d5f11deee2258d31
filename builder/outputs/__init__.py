"""From a finished tree to artifacts: root, initrd, UKI and disk, with their manifest and bill of materials."""
