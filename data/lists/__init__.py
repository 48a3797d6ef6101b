"""Reading and checking list files, and the images, masks and targets that they name.

- bad_samples: --skip_bad
- bit_depth: Conversion of 16-bit images to 8 bits
- class_folder: Directories with one sub-directory per class
- decoders: --decoder
- encoded: Images that the device decodes, crops and resizes in batches
- fast_list_parser: Fast parsing of list files in the plain format
- file_stats: Size, time and identity of many files, without opening them
- labels: Labels and class names in lists and tables
- list_file: Reading list files and directories; collecting errors
- list_format: Detecting the format of a list file
- masks: Conversion of stored mask pixels to class labels
- picture_extensions: File name extensions of supported image formats
- pictures: Decoding and checking images and masks with Pillow
- read_bytes: Reading the bytes of samples, with their hashes
- resizing: Crops, resizing and margins of decoded images and masks
- shards: Reading the shards of a stream
- string_array: Many strings in two flat arrays, shared between processes
- string_hashes: Hashes of many strings at once, by numpy
- table: Reading .csv and .npz files
- targets: Label sets and numbers in lists
- unlabelled_files: Images without targets for --predict
- val_split: --val_split
"""
