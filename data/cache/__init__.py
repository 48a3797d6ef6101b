"""Decoded pixels on disk and in memory.

- decode_cache: The directory of --cache_dir
- decode_cache_file: Decoded pixels in a file that is mapped into memory
- decode_cache_key: What decoded pixels depend on, as one hash
- memory_check: Refusing samples that would not fit into memory, as a set or as a batch, before any of it is taken
"""
