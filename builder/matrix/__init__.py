"""A matrix: many images of few definitions, planned together, built and tested beside each other"""
