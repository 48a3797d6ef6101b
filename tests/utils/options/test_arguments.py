"""utils.options.arguments, on small parsers without options of Danlu."""

import argparse
import errno
import math
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from utils.base.registry import PROJECT
from utils.options.arguments import (
    Flag,
    Parser,
    class_weight,
    directory_path,
    existing_path,
    number,
    option_line,
    plain_name,
    quote,
    registered,
    split_line,
    underscored,
)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['pytest', '--no-such-option'])
    return tmp_path


@pytest.fixture
def parser():
    parser = Parser(prog='tool')
    parser.add_argument('--learning_rate', type=number(float), default=0.1, help='size of a step')
    parser.add_argument('--name', default='exp', help='a name')
    parser.add_argument('--names', nargs='+', help='several names')
    parser.add_argument('--numbers', nargs='+', type=number(float))
    parser.add_argument('--use_it', action=Flag, help='a flag')
    parser.add_argument('--on_by_default', action=Flag, default=True, help='another')
    return parser


def write(path, text, encoding='utf-8'):
    Path(path).write_bytes(text.encode(encoding))
    return f'@{path}'


def error_of(capsys, function, *arguments):
    """Return the line that a usage error prints."""
    with pytest.raises(SystemExit) as stop:
        function(*arguments)
    out, err = capsys.readouterr()
    assert (stop.value.code, out, err.count('\n'), err[-1]) == (2, '', 1, '\n')
    return err


def fail(message):
    raise ValueError(message)


# ---------------------------------------------------------------------------------------------------------------------
# lines of args files


@pytest.mark.parametrize(
    ('line', 'words'),
    [
        ('', []),
        ('   \t ', []),
        ('# all comment', []),
        ('   # indented', []),
        ('--a=1', ['--a=1']),
        ('--a 1   2\t3', ['--a', '1', '2', '3']),
        ('--a=1 # why', ['--a=1']),
        ('--a=1#2', ['--a=1#2']),
        ('--a "# no comment" # comment', ['--a', '# no comment']),
        ('--a "b c" \'d e\'', ['--a', 'b c', 'd e']),
        ('--a="b c"', ['--a=b c']),
        ('--a=b" "c', ['--a=b c']),
        ("""--a "it's" '"'""", ['--a', "it's", '"']),
        ('--a ""', ['--a', '']),
        ('--a=', ['--a=']),
        ('--path=C:\\new\\x', ['--path=C:\\new\\x']),
        ('--a 丹　炉', ['--a', '丹', '炉']),
        ('--a "丹　炉"', ['--a', '丹　炉']),
        ('# it\'s a "comment', []),
    ],
)
def test_split_line(line, words):
    assert split_line(line, fail) == words


@pytest.mark.parametrize('line', ["--a=don't", '--a "b', '--a \'b"', '"', '--a="b\'c', '--a "b" "'])
def test_an_unclosed_quote(line):
    with pytest.raises(ValueError, match='unclosed quote: .*' + line[-1]):
        split_line(line, fail)


def test_any_line_of_text_is_read_back_as_it_was():
    pick = random.Random(0)
    alphabet = 'ab1 \t"\'#=-@\\%,$*\u00a0\u3000\u2028\x85\x0b\x1c炉é\ufeff'
    for _ in range(3000):
        value = ''.join(pick.choices(alphabet, k=pick.randint(0, 6)))
        values = [''.join(pick.choices(alphabet, k=pick.randint(0, 4))) for _ in range(pick.randint(1, 4))]
        assert split_line(quote(value), fail) == [value]
        assert split_line(option_line('name', value) + '  # default: exp', fail) == [f'--name={value}']
        assert split_line(option_line('names', values), fail) == ['--names', *values]


@pytest.mark.parametrize(
    ('value', 'line'),
    [
        (None, '# --x (not set)'),
        (True, '--x'),
        (False, '--no_x'),
        (3, '--x=3'),
        (-1e-05, '--x=-1e-05'),
        (0.1, '--x=0.1'),
        ('a b', '--x="a b"'),
        ('', '--x=""'),
        ('-a', '--x="-a"'),
        ([], '# --x (none)'),
        ([0, 1], '--x 0 1'),
        ((-0.5, 1e-07), '--x -0.5 1e-07'),
        (['a b', '-c', '@d', 'e'], '--x "a b" "-c" "@d" e'),
    ],
)
def test_option_line(value, line):
    assert option_line('x', value) == line


# ---------------------------------------------------------------------------------------------------------------------
# args files


def test_values_come_back_through_a_file(parser):
    pick = random.Random(1)
    alphabet = 'ab1 \t"\'#=-@\\%\u00a0\u3000\u2028\x85\x0b\x1c炉\ufeff'
    for _ in range(300):
        names = [''.join(pick.choices(alphabet, k=pick.randint(1, 4))) for _ in range(pick.randint(1, 4))]
        names = ['-' if name == '--' else name for name in names]  # argparse drops a --
        numbers = [pick.uniform(-1, 1) * 10.0 ** pick.randint(-300, 300) for _ in range(3)]
        given = {'name': names[0], 'names': names, 'numbers': numbers, 'use_it': pick.random() < 0.5}
        line = write('args.txt', '\n'.join(option_line(*pair) for pair in given.items()))
        assert vars(parser.parse_args([line])) == {**given, 'learning_rate': 0.1, 'on_by_default': True}


@pytest.mark.parametrize('end', ['\n', '\r\n', '\r'])
@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig'])
def test_line_ends_and_byte_order_marks(parser, end, encoding):
    lines = ['--learning-rate=0.5', '', '# comment', '--names 猫 "red fox"  # two', '   ', '--use-it']
    args = parser.parse_args([write('args.txt', end.join(lines), encoding)])
    assert (args.learning_rate, args.names, args.use_it) == (0.5, ['猫', 'red fox'], True)


def test_an_empty_file_changes_nothing(parser):
    assert parser.parse_args([write('empty.txt', '')]) == parser.parse_args([])


def test_values_may_go_on_in_the_next_line(parser):
    assert parser.parse_args([write('args.txt', '--names a\n  b\n--name\nx')]).names == ['a', 'b']


def test_files_within_files_and_the_order_of_all(parser):
    write('inner.txt', '--learning_rate=3\n--name=inner\n')
    outer = write('outer.txt', '--learning_rate=2 --name=outer\n@inner.txt\n--use-it\n')
    args = parser.parse_args(['--learning_rate', '1', outer])
    assert (args.learning_rate, args.name, args.use_it) == (3, 'inner', True)
    args = parser.parse_args([outer, '--learning-rate=4', '--no-use-it'])
    assert (args.learning_rate, args.name, args.use_it) == (4, 'inner', False)
    assert parser.parse_args([outer, outer]).name == 'inner'  # twice is not within itself


def test_a_file_may_be_named_from_the_home_directory(parser, place, monkeypatch):
    monkeypatch.setenv('HOME', str(place))
    write('args.txt', '--name=here')
    monkeypatch.chdir('/')
    assert parser.parse_args(['@~/args.txt']).name == 'here'


def test_quoted_words_are_never_options_or_files(parser, capsys):
    args = parser.parse_args([write('args.txt', '--names "-x" "--use_it" \'@none.txt\' "--a-b" --name="@none.txt"')])
    assert args.names == ['-x', '--use_it', '@none.txt', '--a-b']
    assert (args.name, args.use_it) == ('@none.txt', False)
    assert {type(name) for name in args.names} == {str}  # checkpoints take plain values only
    line = error_of(capsys, parser.parse_args, [write('args.txt', '"--use_it"')])
    assert "'--use_it' belongs to no option; did you mean --use_it?" in line


@pytest.mark.parametrize(
    ('words', 'says'),
    [
        (['@none.txt'], "args file 'none.txt' does not exist (looked in {place})"),
        (['@'], "args file '' does not exist"),
        (['@folder'], f"args file 'folder' is a directory; name the file, @folder{os.sep}args.txt"),
        (['@gbk.txt'], "args file 'gbk.txt' is not UTF-8 text"),
        (['@quote.txt'], "args file 'quote.txt', line 3: unclosed quote: --name=don't"),
        (['@self.txt'], "args file 'self.txt' includes itself"),
        (['@circle_a.txt'], "args file 'circle_a.txt' includes itself"),
        (['@missing.txt'], "args file 'none.txt' does not exist"),
        (['@bad.txt'], "argument --learning_rate: 'fast' is not a number"),
        (['@unknown.txt'], 'unknown option --learnig_rate; did you mean --learning_rate?'),
        (['@/dev/null'], "args file '/dev/null' is a pipe or a device"),
    ],
)
def test_faults_of_args_files_are_one_line(parser, capsys, place, words, says):
    Path('folder').mkdir()
    write('gbk.txt', '--name=狗', 'gbk')
    write('quote.txt', "--name=a\n\n--name=don't\n")
    write('self.txt', '--name=a\n@self.txt')
    write('circle_a.txt', '@circle_b.txt')
    write('circle_b.txt', '@circle_a.txt')
    write('missing.txt', '@none.txt')
    write('bad.txt', '--learning-rate=fast')
    write('unknown.txt', '--learnig-rate=1')
    assert says.format(place=place) in error_of(capsys, parser.parse_args, words)


@pytest.mark.skipif(not hasattr(os, 'geteuid') or os.geteuid() == 0, reason='root may read everything')
def test_an_unreadable_args_file(parser, capsys):
    write('secret.txt', '')
    Path('secret.txt').chmod(0)
    assert "'secret.txt' cannot be read: Permission denied" in error_of(capsys, parser.parse_args, ['@secret.txt'])


def test_args_files_are_utf_8_whatever_the_locale(place):
    write('args.txt', '--name=丹炉')
    code = (
        f'import sys; sys.path.insert(0, {str(PROJECT)!r}); from utils.options.arguments import Parser; p = Parser();'
        "p.add_argument('--name'); print(ascii(p.parse_args(['@args.txt']).name))"
    )
    environment = {**os.environ, 'LC_ALL': 'C', 'PYTHONCOERCECLOCALE': '0', 'PYTHONUTF8': '0'}
    printed = subprocess.check_output([sys.executable, '-c', code], text=True, cwd=place, env=environment)
    assert printed.strip() == ascii('丹炉')


# ---------------------------------------------------------------------------------------------------------------------
# names and values


@pytest.mark.parametrize(
    ('word', 'spelt'),
    [
        ('--a-b', '--a_b'),
        ('--a-b=c-d', '--a_b=c-d'),
        ('--a_b=--c-d=e-f', '--a_b=--c-d=e-f'),
        ('a-b', 'a-b'),
        ('-a-b', '-a-b'),
        ('-1e-5', '-1e-5'),
        ('', ''),
    ],
)
def test_underscored(word, spelt):
    assert underscored(word) == spelt


def test_flags(parser):
    assert (parser.parse_args([]).use_it, parser.parse_args([]).on_by_default) == (False, True)
    for on in ('--use_it', '--use-it'):
        assert parser.parse_args(['--no_use_it', on]).use_it is True
    for off in ('--no_use_it', '--no-use-it', '--no-use_it'):
        assert parser.parse_args(['--use_it', off]).use_it is False
    assert parser.parse_args(['--no-on-by-default']).on_by_default is False


@pytest.mark.parametrize('text', ['-1', '-.5', '-1.', '-1e-05', '-1E+3', '-0.5e7', '-1.e2'])
def test_negative_numbers_are_values(parser, text):
    assert parser.parse_args(['--numbers', text, '1', text]).numbers == [float(text), 1, float(text)]
    assert parser.parse_args(['--learning_rate', text]).learning_rate == float(text)


@pytest.mark.parametrize('text', ['-x', '-1x', '-1e', '--1', '-e5', '-1-2'])
def test_other_words_with_a_dash_are_no_values(parser, capsys, text):
    line = error_of(capsys, parser.parse_args, ['--name', text])
    assert 'argument --name: expected one argument (if it begins with -: --name=-...)' in line
    assert parser.parse_args([f'--name={text}']).name == text


@pytest.mark.parametrize(
    ('words', 'says'),
    [
        (['--nam=x'], 'unknown option --nam; did you mean --name or --names?'),  # no abbreviations
        (['--Name', 'x'], 'unknown option --Name; did you mean --name?'),
        (['--learnig-rate', '1'], 'unknown option --learnig_rate; did you mean --learning_rate?'),
        (['-name', 'x'], 'unknown option -name; did you mean --name?'),
        (['—name', 'x'], 'unknown option —name; did you mean --name?'),
        (['--qqqqqq'], 'unknown option --qqqqqq (see'),
        (['name=x'], "'name=x' belongs to no option; did you mean --name?"),
        (['nam'], "'nam' belongs to no option (see"),
        (['--name', 'x', 'y'], "'y' belongs to no option (see"),
        (['--'], "'--' belongs to no option (see"),
    ],
)
def test_words_that_belong_to_no_option(parser, capsys, words, says):
    assert says in error_of(capsys, parser.parse_args, words)


def test_messages_are_one_line_without_argparse_jargon(parser, capsys):
    assert error_of(capsys, parser.error, 'a\nb\r\nc') == 'tool: error: a b c (see tool --help)\n'
    assert 'argument --use_it/--no_use_it: takes no value (see' in error_of(capsys, parser.parse_args, ['--use-it=1'])
    assert 'argument --names: expected at least one argument (see' in error_of(capsys, parser.parse_args, ['--names'])


def test_given_names_only_what_was_given(parser):
    assert parser.given([]) == {}
    assert parser.given(['--name', 'exp', '--no-use-it']) == {'name': 'exp', 'use_it': False}
    assert parser.given([write('args.txt', '--learning-rate=0.1')]) == {'learning_rate': 0.1}
    assert parser.parse_args([]).name == 'exp'  # the defaults are back


def test_given_puts_the_defaults_back_after_an_error(parser, capsys):
    error_of(capsys, parser.given, ['--nmae', 'x'])
    assert parser.parse_args([]).name == 'exp'


def test_help_shows_defaults_and_both_sides_of_a_flag(parser, monkeypatch):
    monkeypatch.setenv('COLUMNS', '200')
    text = parser.format_help()
    assert 'size of a step (default: 0.1)' in text
    assert 'several names\n' in text
    assert '--use_it, --no_use_it' in text
    assert 'a flag\n' in text


def test_the_command_line_is_read_where_no_argv_is_given(parser, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['tool', '--learning-rate', '7'])
    assert parser.parse_args().learning_rate == 7
    assert parser.given() == {'learning_rate': 7}
    assert parser.parse_args([]).learning_rate == 0.1


# ---------------------------------------------------------------------------------------------------------------------
# types


@pytest.mark.parametrize(
    ('kind', 'text', 'value'),
    [
        (number(int), '-3', -3),
        (number(int, low=0), '0', 0),
        (number(int, high=3), '3', 3),
        (number(int, above=0, below=2), '1', 1),
        (number(float, above=0), '5e-324', 5e-324),
        (class_weight, '0', 0.0),
        (class_weight, '3e38', 3e38),
        (number(float, below=1), '0.9999999999999999', 0.9999999999999999),
        (number(float, low=0), '3', 3.0),
        (number(int), str(-(2**63)), -(2**63)),
        (number(int), str(2**63 - 1), 2**63 - 1),
    ],
)
def test_numbers_in_range(kind, text, value):
    assert kind(text) == value
    assert type(kind(text)) is type(value)


@pytest.mark.parametrize(
    ('kind', 'text', 'says'),
    [
        (number(int, low=0), '-1', 'must be at least 0, got -1'),
        (number(int, high=3), '4', 'must be at most 3, got 4'),
        (number(int, above=0, below=2), '2', 'must be more than 0 and less than 2, got 2'),
        (number(float, above=0), '0', 'must be more than 0, got 0'),
        (number(float, below=1), '1', 'must be less than 1, got 1'),
        (number(float), 'nan', 'must be finite, got nan'),
        (number(float, low=0), 'inf', 'must be finite, got inf'),
        (number(float), '1e999', 'must be finite, got 1e999'),
        (number(int), '1.0', "'1.0' is not a whole number"),
        (number(int), '', "'' is not a whole number"),
        (number(float), 'one', "'one' is not a number"),
        (number(float), '1,2', "'1,2' is not a number; separate several by blanks, not commas"),
        (number(int, high=3), '1' + '0' * 400, f'must be at most 3, got 1{"0" * 99}...{"0" * 100}'),
        (number(int), '9' * 5000, f"'{'9' * 100}...{'9' * 100}' is not a whole number"),
        (class_weight, '1e300', '1e300: too large for float32, which takes 0 and 1.2e-38 to 3.4e+38'),
        (class_weight, '1e-300', '1e-300: too small for float32, which takes 0 and 1.2e-38 to 3.4e+38'),
        (number(int), str(2**63), f'must lie between -2^63 and 2^63, got {2**63}'),
    ],
)
def test_numbers_out_of_range(kind, text, says):
    with pytest.raises(argparse.ArgumentTypeError) as refused:
        kind(text)
    assert str(refused.value) == says


def test_registered_names():
    kind = registered('model', {'lenet': 'a.b', 'unet': 'c.d'}, ['zoo:'])
    assert [kind(text) for text in ('lenet', 'zoo:anything')] == ['lenet', 'zoo:anything']
    theirs = ', or zoo:lenett for a model of a library'
    for text, says in (
        ('lenett', f"unknown model 'lenett'; did you mean lenet or unet? (known: lenet, unet, zoo:<name>){theirs}"),
        ('zoo:', "unknown model 'zoo:'; did you mean zoo:<name>? (known: lenet, unet, zoo:<name>)"),
        ('', "unknown model '' (known: lenet, unet, zoo:<name>)"),
    ):
        with pytest.raises(argparse.ArgumentTypeError) as refused:
            kind(text)
        assert str(refused.value) == says


def test_paths(place, monkeypatch):
    monkeypatch.setenv('HOME', str(place / 'home'))
    Path('home').mkdir()
    write('home/file', '')
    Path('link').symlink_to('home')
    for text, path in (('home', 'home'), ('./home/', 'home'), ('~', 'home'), ('~/file', 'home/file'), ('link', 'link')):
        assert existing_path(text) == str(place / path)
    assert directory_path('~/not/yet') == str(place / 'home/not/yet')
    assert directory_path('home/..') == str(place)
    for text in ('', 'none', 'home/file/x', 'x' * 5000, '~no_such_user_here'):
        with pytest.raises(argparse.ArgumentTypeError, match='does not exist'):
            existing_path(text)
    for text in ('', 'home/file', '~/file'):
        with pytest.raises(argparse.ArgumentTypeError, match='is not a directory'):
            directory_path(text)
    for text in ('a\nb', 'a\rb', 'a\0b', '\udcff'):
        for kind in (existing_path, directory_path):
            with pytest.raises(argparse.ArgumentTypeError, match='is not UTF-8 or contains a line break'):
                kind(text)


def test_plain_names():
    for text in ('a', 'x' * 100, 'a b', '丹炉', '-a', '...'):
        assert plain_name(text) == text
    for text in ('', '.', '..', 'a/b', 'a\\b', 'x' * 101, ' a', 'a\u3000', 'a\nb', '\x9b', '\u2029'):
        with pytest.raises(argparse.ArgumentTypeError, match='cannot be part of a directory name'):
            plain_name(text)


def test_floats_are_recorded_to_the_last_digit():
    pick = random.Random(2)
    for _ in range(1000):
        value = pick.uniform(-1, 1) * 10.0 ** pick.randint(-310, 300)
        assert math.isfinite(value)
        (word,) = split_line(option_line('x', value), fail)
        assert number(float)(word.removeprefix('--x=')) == value


def test_a_path_that_no_directory_can_have_is_refused_at_once(place):
    (place / 'loop').symlink_to('loop')
    for path, reason in (('x' * 5000, os.strerror(errno.ENAMETOOLONG)), ('loop', os.strerror(errno.ELOOP))):
        with pytest.raises(argparse.ArgumentTypeError, match=f'is no valid directory: {reason}'):
            directory_path(path)
