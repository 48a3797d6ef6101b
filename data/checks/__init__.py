"""Checks of the data: dataset fingerprint, leakage between splits, class balance, statistics.

- class_balance: Class-balanced sampling, and classes without samples
- class_notes: Notes on classes in masks and in sets of labels (single labels: class_balance)
- class_weights: --class_weights balanced
- contents_check: Which samples of a test have other bytes than the run read
- dataset_fingerprint: Which data a run was trained, validated and tested on
- duplicates: Images that a list names more than once
- leakage: Samples that two data sets share, usually training and test data
- preview: Options that are determined from some files of the training data
- sample_facts: What the check of all files found besides errors
- statistics: Image statistics and classes of a data set
"""
