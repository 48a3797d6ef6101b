"""Caches of decoded pixels.

- decode_cache: --cache_dir, a directory with one file of decoded pixels per list
- decode_cache_file: One file of decoded pixels, mapped into memory
- decode_cache_key: The hash that names a cache file
- reduced_cache: --cache_dir of list, pairs and folder, a file that grows as images are decoded
- memory_check: Checks that data sets and batches fit into memory
"""
