"""Fonts, colours and figures.

- colours: The colours of classes
- colour_distance: Whether colours look alike
- curves: curves.png
- fonts: Text on images in any script
- matplotlib_import: Imports matplotlib under any MPLBACKEND
- sample_grid: A sheet of training samples as the network gets them, for scripts/look.py
- scatter: Predicted over true values of a regression
"""
