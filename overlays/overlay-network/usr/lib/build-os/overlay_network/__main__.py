"""``python3 -I -B /usr/lib/build-os/overlay_network``: what overlay-network.service runs."""

import sys

from agent import main

if __name__ == "__main__":
    sys.exit(main())
