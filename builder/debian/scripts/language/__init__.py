"""The language of the shell: words, grammar, expansion and evaluation. It is given what commands do."""
