"""The summary of a sweep: from how many trials on hyperparameters have an importance."""

import pytest

from scripts.sweeping.summary import MIN_TRIALS_FOR_IMPORTANCE, print_importances

optuna = pytest.importorskip('optuna', reason='optuna is not installed: pip install -r requirements-extra.txt')


@pytest.fixture
def study_of():
    """Return a function: number of complete trials -> study in which the value depends on lr only."""

    def make(count):
        space = {name: optuna.distributions.FloatDistribution(0, 1) for name in ('lr', 'momentum')}
        study = optuna.create_study(direction='maximize')
        for i in range(count):
            params = {'lr': i / count, 'momentum': i * 7 % count / count}
            study.add_trial(optuna.trial.create_trial(value=params['lr'], params=params, distributions=space))
        return study

    return make


def test_29_complete_trials_are_too_few_for_an_importance(study_of, capsys):
    assert MIN_TRIALS_FOR_IMPORTANCE == 30
    print_importances(study_of(29), 29, ['lr', 'momentum'])
    said = 'hyperparameter importance: not shown (29 complete trials, at least 30 are needed)\n'
    assert capsys.readouterr().out == said


@pytest.mark.slow('imports the part of Optuna for importances')
def test_hyperparameters_have_an_importance_from_30_complete_trials_on(study_of, capsys):
    print_importances(study_of(30), 30, ['lr', 'momentum'])
    line = capsys.readouterr().out
    assert line.startswith('hyperparameter importance (PED-ANOVA, for the best tenth of the trials): lr ')
