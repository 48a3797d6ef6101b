"""Exports a network for other programs; scripts/export.py is the program.

- deployed: the network with its normalisation, and resizing where asked for, in one module
- exporting: exports one checkpoint
- formats: writes and loads ONNX, PT2 and TorchScript files
- metadata: what the file says about itself
- verification: compares the file with the checkpoint: outputs, metrics, size, latency
"""
