"""Danlu's options in an argparse.ArgumentParser of another program. Imports no torch."""

import sys

from utils.options.checks import checked
from utils.options.record_parser import MigratingParser, Options


def add_options_to(parser, program, *adders):
    """Add options to a parser and return the parser; it then checks the options as Danlu's own parsers do.

        parser = argparse.ArgumentParser()
        parse_common_args(parser).add_argument('--mine', type=int, default=1)
        args = parser.parse_args()

    Args:
        parser: argparse.ArgumentParser.
        program: whose options they are: 'train.py', 'eval.py', or None.
        adders: functions(parser) of options.py that add options, such as add_common_args.
    """
    own = MigratingParser(prog=parser.prog, add_help=False)
    for add in adders:
        add(own)
    empty, _ = own.parse_known_args([])
    parser._add_container_actions(own)
    parse = parser.parse_known_args

    def parse_and_check(args=None, namespace=None):
        words = sys.argv[1:] if args is None else [str(word) for word in args]
        options, unknown = parse(words, Options() if namespace is None else namespace)
        if isinstance(options, Options):
            options.program, options.keywords = program, empty.keywords
        if isinstance(options, Options) and not isinstance(parser, MigratingParser):
            known = parser._option_string_actions
            options.past, options.typed = (
                [],
                {known[w].dest for word in words if (w := word.partition('=')[0]) in known},
            )
        return checked(own, options), unknown

    parser.parse_known_args = parse_and_check
    return parser
