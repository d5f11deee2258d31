"""What desktops and their languages have: caches of icons and types, Emacs, Java. Few machines need it."""
