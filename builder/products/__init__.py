"""The catalogue of products: what a build can be asked for, of which parts each is made, and how."""
