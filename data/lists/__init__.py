"""Reading and checking list files, and the pictures, masks and targets that they name.

- bad_samples: --skip_bad
- bit_depth: Pictures of 16 bits
- class_folder: The pictures below a directory with one sub-directory per class, and what was left out there
- fast_list_parser: Lines of a list file that need no looking at one by one
- file_stats: What the file system tells of many files without opening them
- labels: Labels and class names as lists and tables state them
- list_file: What a list file or a directory names, held in a few flat arrays, and the faults found in it
- list_format: How the lines of a list file are written
- masks: How the stored pixels of a mask become class labels
- picture_extensions: The file name endings of the picture formats that Danlu reads
- pictures: Decoding of single pictures and masks with Pillow
- shards: Shards of a stream, read from front to back
- string_array: Many strings as two flat arrays, which processes share
- string_hashes: Hashes of many strings at once, by numpy
- table: Features and targets of a .csv or .npz file, and the faults found in it
- targets: Targets that a list states as text, other than single labels
- val_split: --val_split
"""
