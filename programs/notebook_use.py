"""What a Trainer can do besides train(), for notebooks and scripts."""

from data.predicting import predict
from data.ready_made import values_of
from options import train_args
from programs.index_page import write_index
from utils.base.language import terminal_language, use_language
from utils.training.continuation import check_same_data
from utils.training.run_messages import page_lines


class NotebookUse:
    """Base of train.Trainer: fits loaders, evaluates, predicts and reports."""

    def fit(self, train_data=None, val_data=None, epochs=None, patience=None, monitor=None, mode=None):
        """Train on loaders or data sets, and return the history, as `train` does.

        Args:
            train_data, val_data: like train_loader and val_loader of the constructor, for a Trainer with a ready-made
                model and no data. Without val_data there is no validation.
            epochs, patience, monitor, mode: the options of these names; None: not changed.
        """
        given = {'epochs': epochs, 'patience': patience, 'monitor': monitor, 'mode': mode}
        given = {name: value for name, value in given.items() if value is not None}
        args = self.deferred_build[0] if 'deferred_build' in vars(self) else self.args
        for name, value in vars(train_args(**given)).items():
            if name in given:
                setattr(args, name, value)
        if train_data is not None:
            self.build_deferred(train_loader=train_data, val_loader=val_data)
        check_same_data(self, train_data, val_data)
        return self.train()

    def evaluate(self, batches, metrics=None, on_batch=None):
        """Return the loss and metrics of a loader or data set (dict), as validation computes them.

        With `metrics` this is Engine.evaluate, which also returns the number of samples.
        """
        if metrics is not None:
            return super().evaluate(batches, metrics, on_batch)
        with self.eval_weights():
            return values_of(self, batches, self.metrics['val'])

    def predict(self, pictures):
        """Return the network's predictions for a batch, images or a loader: see data.predicting.predict."""
        with self.eval_weights():
            return predict(self, pictures)

    def report(self):
        """Test best.pth as `eval.py --report` does and return the page, which a notebook's cell shows.

        Raises:
            DanluError: there is no best.pth yet, or the Trainer overrides methods of the evaluation.
        """
        from programs.best_epoch import report_of  # imported on use: training does not need it

        page = report_of(self)
        write_index(self.args)  # it links the report
        return page

    def write_runs_page(self):
        """Write the page of all runs, unless --no_index, and print its path; `train` does so at its end."""
        if index := write_index(self.args):
            with use_language(terminal_language(self.args.lang)):
                print(*page_lines(None, index))
