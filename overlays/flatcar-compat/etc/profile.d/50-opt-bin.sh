# Where configs for Flatcar put programs.
PATH="/opt/bin:$PATH"
