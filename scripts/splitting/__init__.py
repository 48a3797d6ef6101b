"""Splits a data set into lists for training, validation and test; scripts/split.py is the program.

- assignment: which samples go into which part
- duplicates: images that must stay in the same list
- lists: writes the lists
- perceptual_hash: equal and similar images
- samples: reads the images, targets and groups
"""
