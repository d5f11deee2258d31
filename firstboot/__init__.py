"""First boot, in the guest: read a machine's config, check it, and make the machine what it says, once.

Shipped whole into the image. :mod:`firstboot.config` is shared with the host and imports only the standard
library and yaml; nothing in here imports the builder.
"""
