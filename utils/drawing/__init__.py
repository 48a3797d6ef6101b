"""Fonts, colours and figures.

- colours: The colours of classes in pictures and plots
- curves: curves.png
- fonts: Text on pictures, in whatever script the names of classes are
- matplotlib_import: Importing matplotlib, whatever backend the environment names
- sample_grid: A sheet of training samples as a network sees them, for scripts/look.py
- scatter: What a regression predicts against what is true, where there is no picture to write numbers below
"""
