"""Parts of train.py and eval.py that need data, models, losses and metrics.

- trainer_build, notebook_use: base classes of Trainer; train_command: what a command line of train.py does
- evaluator_build, test_set: base classes of Evaluator; eval_command: what a command line of eval.py does, for one
  checkpoint or several
- best_epoch: the test of best.pth at the end of a run
- index_page: the page of all runs at the end of a run
- predictor: Predictor and load_predictor; the ensemble of several checkpoints
"""
