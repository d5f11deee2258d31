"""NetworkManager's keyfiles (nm-settings-keyfile(5)) as files for systemd-networkd.

Configs for Fedora CoreOS set up the network by them; our images have networkd. Nothing is guessed: what networkd has no
setting for is named.
"""

from firstboot.config.networkmanager.keyfile import Remark
from firstboot.config.networkmanager.translate import Translated, translate

__all__ = ["Remark", "Translated", "translate"]
