"""Write index.html, one page of all runs with curves, values, options and links to the reports: runs.py page."""

from pathlib import Path

from utils.base.language import PAGE_LANGUAGE
from utils.base.text_table import count_text
from utils.html_report.runs_page import write_runs_page


def add_arguments(parser):
    """Add the arguments of the command."""
    parser.add_argument('--html', type=Path, metavar='FILE', help='write the page to this file (default: index.html '
                                                                  'in --checkpoints_dir)')  # fmt: skip
    parser.add_argument('--lang', **PAGE_LANGUAGE)


def run(args):
    """Write the page."""
    path, count = write_runs_page(args.checkpoints_dir, args.html, args.lang)
    print(f'written: {path} ({count_text(count, "run")})')
