"""Dataset fingerprint, leakage between splits, class balance, statistics.

- class_balance: How many samples the classes have
- class_notes: What the log says at the start about classes in masks and in sets of labels (single labels
- class_weights: --class_weights balanced
- dataset_fingerprint: Which data a run and a test have seen
- duplicates: Pictures that a list names more than once
- leakage: Samples that two data sets have in common, as a rule those of training and of test
- preview: What a look at files of the training data decides before the data set is built
- sample_facts: What the check of a data set's files finds besides faults
- statistics: What the files of a data set hold
"""
