"""The documents: every command and program in them runs as printed; links, options, files and names exist.

The commands of a section run one after another in this process, in a directory with small generated images, lists and
tables under the names that the documents use, where checkpoints/ is created too. They train on every tenth of the
digits, and for fewer epochs.
"""

import contextlib
import difflib
import importlib
import importlib.util
import io
import re
import runpy
import shlex
import tarfile
import warnings
from importlib import import_module

import numpy as np
import pytest
from PIL import Image
from torch.distributed.run import get_args_parser

import options
from data import digits
from utils.base.registry import PROJECT

READMES = [PROJECT / 'README.md', PROJECT / 'README.zh-CN.md']
TUTORIALS = [PROJECT / 'docs' / 'tutorial.md', PROJECT / 'docs' / 'tutorial.zh-CN.md']
PRINTING = [READMES[0], TUTORIALS[0], PROJECT / 'docs' / 'from-your-template.md', PROJECT / 'docs' / 'recipes.md']
DOCUMENTS = [*READMES, PROJECT / 'checkpoints' / 'README.md', *sorted((PROJECT / 'docs').glob('*.md'))]
BLOCK = re.compile(r'^```(\w+)\n(.*?)^```$', re.DOTALL | re.MULTILINE)
NOT_RUN = '# not run by the tests: '
SHELL = ('bash scripts/', 'python scripts/runs.py', 'python scripts/sweep.py', 'tensorboard ', 'torchrun ')
ELSEWHERE = (*SHELL, '# model/tiny.py', '# data/noise.py')  # run by the tests of scripts and records


def sections(path):
    """Return (name, blocks) of each section of a document that has code; blocks are (language, code)."""
    parts = re.split(r'^## (.*)$', path.read_text(encoding='utf-8'), flags=re.MULTILINE)
    for name, text in zip(parts[1::2], parts[2::2], strict=True):
        if blocks := BLOCK.findall(text):
            yield f'{path.stem}: {name}', blocks


SECTIONS = dict(section for path in PRINTING for section in sections(path))


def commands(code):
    """Return the commands (lists of words) of a shell block."""
    lines = code.replace('\\\n', ' ').splitlines()
    return [words for line in lines if not line.startswith(ELSEWHERE) and (words := shlex.split(line, comments=True))]


# --- data that the documents name


def picture(random, shade, size=(20, 24)):
    """Return a noisy image (PIL) around a grey value, 0..255."""
    return Image.fromarray((random.integers(0, 60, (*size, 3)) + 0.75 * shade).astype(np.uint8))


def save_classes(folder, classes):
    """Save images into one directory per class; `classes`: dict from a name to the number of images."""
    random = np.random.default_rng(len(classes))
    for shade, (name, count) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            picture(random, 120 * shade).save(folder / name / f'{index}.jpg')


def save_list(path, target_of, count):
    """Save images and a list of them; `target_of(name, folder, shade)` returns the target and may save a file."""
    random, lines = np.random.default_rng(3), []
    path.parent.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        name, shade = f'{path.stem}{index}.png', 100 * (index % 3)
        picture(random, shade).save(path.parent / name)
        lines.append(f'{name} {target_of(f"{path.stem}{index}", path.parent, shade)}\n')
    path.write_text(''.join(lines), encoding='utf-8')


def mask(name, folder, shade):
    """Save a mask of labels 0, 1 and 2, and return its name."""
    Image.fromarray(np.repeat(np.arange(24, dtype=np.uint8)[None] // 8, 20, axis=0)).save(folder / f'{name}_mask.png')
    return f'{name}_mask.png'


def clean(name, folder, shade):
    """Save an image of one grey value, and return its name."""
    Image.new('RGB', (24, 20), (shade,) * 3).save(folder / f'{name}_clean.png')
    return f'{name}_clean.png'


def save_table(path, count, seed):
    """Save a table whose last column is the sum of three features."""
    features = np.random.default_rng(seed).normal(size=(count, 3))
    rows = [','.join(f'{number:.5f}' for number in [*row, row.sum()]) for row in features]
    path.parent.mkdir(exist_ok=True)
    path.write_text('\n'.join(['rooms,size,age,price', *rows]) + '\n', encoding='utf-8')


def save_shard(path, count):
    """Save a .tar shard of images with their classes."""
    path.parent.mkdir(parents=True)
    with tarfile.open(path, 'w') as archive:
        for index in range(count):
            content, random = io.BytesIO(), np.random.default_rng(index)
            picture(random, 120 * (index % 2)).save(content, 'PNG')
            for name, data in ((f'{index}.png', content.getvalue()), (f'{index}.cls', [b'cat', b'dog'][index % 2])):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Return a directory with all data that the documents name."""
    folder = tmp_path_factory.mktemp('data')
    for name, classes in {'photos': 'cat dog', 'hotdog': 'hotdog not-hotdog', 'pets': 'cat dog rat'}.items():
        for split, counts in {'train': (5, 2, 2), 'val': (1, 2, 2), 'test': (2, 1, 1)}.items():
            save_classes(folder / name / split, dict(zip(classes.split(), counts, strict=False)))
    save_classes(folder / 'album', {'cat': 12, 'dog': 12})
    save_classes(folder / 'new_photos', {'unsorted': 3})
    for split, count in (('train', 9), ('val', 6)):
        save_list(folder / 'road' / f'{split}.txt', mask, count)
        save_list(folder / 'rain' / f'{split}.txt', clean, count)
        save_list(folder / 'ages' / f'{split}.txt', lambda name, folder, shade: 20 + shade / 10, count)
        save_list(folder / 'films' / f'{split}.txt',
                  lambda name, folder, shade: {0: '-', 100: 'drama', 200: 'drama,comedy'}[shade], count)  # fmt: skip
        save_table(folder / 'houses' / f'{split}.csv', 40 * count, count)
        save_shard(folder / 'shards' / split / '0.tar', 2 * count)
    return folder


@pytest.fixture(scope='module')
def few_digits(tmp_path_factory):
    """Return a file with every tenth of the bundled digits."""
    path = tmp_path_factory.mktemp('digits') / 'digits.npz'
    with np.load(digits.DIGITS_FILE) as file:
        np.savez(path, **{name: values[::10] for name, values in file.items()})
    return path


@pytest.fixture
def here(data, few_digits, tmp_path, monkeypatch):
    """Change into a directory with the data, where checkpoints/ is created."""
    for path in data.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(options, 'PROJECT', tmp_path)
    monkeypatch.setattr(digits, 'DIGITS_FILE', few_digits)
    return tmp_path


# --- running them


FEWER = {'5': '2', '10': '1', '15': '1', '18': '2', '20': '2', '22': '3'}  # a resumed run still gets more than before


def fewer_epochs(words):
    """Return a command with few epochs."""
    pairs = zip(['', *words], words, strict=False)
    return [FEWER.get(word, word) if before == '--epochs' else word for before, word in pairs]


def run_command(words, pages=True):
    """Run a command of a document in this process, with small images and few epochs, and on request without pages."""
    python, script, *rest = fewer_epochs(['64' if word == '224' else word for word in words])
    if script == 'train.py' and not pages and not {'--report', '--dry_run', '--find_lr'} & {*rest}:
        rest += ['--no_report', '--no_index']
    assert python == 'python'
    if script == '-m':
        importlib.import_module(rest[0]).main([*rest[1:], '--device', 'cpu'])
    elif script in ('train.py', 'eval.py'):
        importlib.import_module(script.removesuffix('.py')).main([*rest, '--device', 'cpu'])
    elif (PROJECT / script).is_file():
        try:
            status = load(PROJECT / script).main(rest)
        except SystemExit as end:
            status = end.code
        assert status in (0, None)
    else:
        runpy.run_path(script, run_name='__main__')


def load(path):
    """Return a script of the project as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Sections with the largest networks or the longest runs.
LONG = (
    *('recipes: A loop of your own', 'recipes: Restoration', 'recipes: Transfer learning', 'recipes: After training'),
    *('recipes: Before a long run', 'from-your-template: PyTorch Lightning', 'from-your-template: A tutorial script'),
    "from-your-template: torchvision's references",
    *('recipes: Imbalanced classes', 'recipes: Large data'),
    *('recipes: Splitting and cross-validation', 'recipes: Export'),
)


# Their sections are run one after another in one directory, as a reader does.
IN_ORDER = {
    name: [section for section in SECTIONS if section.startswith(f'{name}: ')] for name in ('README', 'tutorial')
}
SINGLE = [section for section in SECTIONS if section not in (*LONG, *IN_ORDER['README'], *IN_ORDER['tutorial'])]


@pytest.mark.slow_after(2, 'trains networks')
@pytest.mark.parametrize('section', SINGLE)
def test_what_a_section_prints_runs(section, here):
    check_section(section, here)


@pytest.mark.slow('trains large networks')
@pytest.mark.parametrize('section', LONG)
def test_what_a_long_section_prints_runs(section, here):
    check_section(section, here)


def check_section(section, here):
    ran = 0
    for language, code in SECTIONS[section]:
        if code.startswith((NOT_RUN, *ELSEWHERE[len(SHELL) :])):
            continue
        for name in ('timm:', '--format onnx', '--format safetensors'):
            if name in code:
                pytest.importorskip({'timm:': 'timm', '--format onnx': 'onnxscript'}.get(name, 'safetensors'))
        if language == 'bash':
            for words in commands(code):
                run_command(words, pages=False)
                ran += 1
        elif name := re.match(r'# (\w+\.py)\n', code):
            (here / name[1]).write_text(code, encoding='utf-8')  # a command runs it
        else:
            exec(compile(code, section, 'exec'), {'__name__': '__main__'})
            ran += 1
    assert ran or all(code.startswith(ELSEWHERE) for _, code in SECTIONS[section])


@pytest.mark.slow('trains five networks')
@pytest.mark.parametrize('name', IN_ORDER)
def test_a_document_runs_from_top_to_bottom(name, here):
    """Each command as printed, with smaller images and random weights."""
    (here / 'data').symlink_to(PROJECT / 'data')
    ran = []
    for language, code in (block for section in IN_ORDER[name] for block in SECTIONS[section]):
        if language == 'python' and (file := re.match(r'# (\w+\.py)\n', code)):
            (here / file[1]).write_text(code.replace('1500', '400'), encoding='utf-8')  # images
        for line in code.replace('\\\n', ' ').splitlines() if language == 'bash' else ():
            words = shlex.split(line, comments=True)
            if line.startswith('bash scripts/quickstart.sh'):
                run_command(words_of_quickstart())
            elif line.startswith('python scripts/runs.py'):
                run_on_runs(words[2:], here / 'checkpoints')
            elif not line.startswith(SHELL):
                run_command([word for word in words if word != '--pretrained'])  # a download
            ran.append(line)
    assert len(ran) > 12


def words_of_quickstart():
    """Return the command (list of words) by which quickstart.sh trains, for one epoch."""
    text = (PROJECT / 'scripts' / 'quickstart.sh').read_text(encoding='utf-8').replace('\\\n', ' ')
    (line,) = re.findall(r'^python train\.py .*(?= --open "\$@")', text, re.MULTILINE)
    return [*shlex.split(line), '--epochs', '1']


def run_on_runs(words, checkpoints):
    """Run a command of runs.py on a directory of runs; find-value looks for the accuracy of the first run."""
    if words[0] == 'find-value':
        result = next((checkpoints / 'lenet_quickstart').glob('best/*/result.txt')).read_text(encoding='utf-8')
        words = ['find-value', re.search(r'^acc: (\S+)$', result, re.MULTILINE)[1]]
    assert load(PROJECT / 'scripts' / 'runs.py').main([*words, '--checkpoints_dir', checkpoints]) == 0


def test_nearly_everything_is_run():
    """Few blocks are not run, and each says why."""
    blocks = [code for section in SECTIONS.values() for _, code in section]
    assert len(blocks) > 25
    assert sum(code.startswith(NOT_RUN) for code in blocks) <= 2
    languages = {language for section in SECTIONS.values() for language, _ in section}
    assert languages == {'bash', 'python'}


# --- text


def without_comments(code):
    """Return the lines of code, without comments and the spaces before them."""
    return [re.sub(r'\s*(?<!\S)#.*', '', line) for line in code.splitlines()]


@pytest.mark.parametrize('paths', [READMES, TUTORIALS], ids=['README', 'tutorial'])
def test_both_languages_have_the_same_code(paths):
    texts = [path.read_text(encoding='utf-8') for path in paths]
    english, chinese = ([(kind, without_comments(code)) for kind, code in BLOCK.findall(text)] for text in texts)
    assert english == chinese
    headings = [re.findall(r'^#+ ', BLOCK.sub('', text), re.MULTILINE) for text in texts]
    assert headings[0] == headings[1]


@pytest.mark.parametrize('path', [READMES[1], TUTORIALS[1]], ids=['README', 'tutorial'])
def test_no_line_of_a_chinese_document_breaks_between_chinese_characters(path):
    chinese = r'[\u3000-\u9fff\uff00-\uffef]'
    text = re.sub(r'^#.*$', '', path.read_text('utf-8'), flags=re.MULTILINE)
    assert re.findall(f'.*{chinese}\n{chinese}.*', text) == []


def anchors(path):
    """Return the anchors (set of str) of a document's headings, as GitHub makes them."""
    text = BLOCK.sub('', path.read_text(encoding='utf-8'))
    titles = re.findall(r'^#+ (.*)$', text, re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', title.lower()).replace(' ', '-') for title in titles}


ALL_DOCUMENTS = [*DOCUMENTS, PROJECT / 'CONTRIBUTING.md', PROJECT / 'tests' / 'formats' / 'README.md']
FOLDERS = 'data|examples|model|scripts|tests|utils'
# Files and classes that the examples of a document add.
ADDED = re.compile(
    r'[\w/.]*(tiny|data.noise|stripes|logistic|poly|metrics/(test_)?error|invert|super_resolution|unfreeze|weight_norm|tudui'
    r'|lenet5|road_dataset|small_fcn)[\w/.]*'
)


@pytest.mark.parametrize('path', ALL_DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_files_and_names_in_a_document_exist(path):
    text = ADDED.sub('', path.read_text(encoding='utf-8'))
    files = re.findall(rf'(?<![\w/.])(?:{FOLDERS})/[\w/]+\.(?:py|sh|sbatch|md|txt)\b', text)
    assert [name for name in files if not any((PROJECT / root / name).exists() for root in ('', 'tests'))] == []
    names = re.findall(r'(?<![\w/.])(?:data|examples|scripts|utils)(?:\.[a-z]\w*)+', BLOCK.sub('', text))
    assert [name for name in names if not is_importable(name)] == []


def is_importable(name):
    """Return whether a dotted name (str) is a module of the project or something that one defines (bool)."""
    module, _, attribute = name.rpartition('.')
    paths = [PROJECT / each.replace('.', '/') for each in (name, module)]
    if paths[0].is_dir() or paths[0].with_suffix('.py').exists():
        return True
    return paths[1].with_suffix('.py').exists() and hasattr(importlib.import_module(module), attribute)


@pytest.mark.parametrize('path', ALL_DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_links_lead_somewhere(path):
    broken = []
    text = BLOCK.sub('', path.read_text(encoding='utf-8'))
    for link in [*re.findall(r'\]\(([^)\s]+)\)', text), *re.findall(r' src="([^"]+)"', text)]:
        name, _, anchor = link.partition('#')
        target = path if not name else path.parent / name
        if '://' not in link and (not target.exists() or (anchor and anchor not in anchors(target))):
            broken.append(link)
    assert broken == []


def test_the_readme_leads_to_every_document():
    linked = re.findall(r'\]\(([^)#\s]+)', READMES[0].read_text('utf-8'))
    assert {str(path.relative_to(PROJECT)) for path in (PROJECT / 'docs').glob('*.md')} <= set(linked)
    assert 'README.zh-CN.md' in linked and '](README.md)' in READMES[1].read_text('utf-8')


@pytest.mark.parametrize('path', READMES, ids=lambda path: path.name)
def test_a_readme_begins_with_pictures_contents_commands_and_what_they_print(path):
    first, code, printed = re.split(r'^```(?:bash\n|\n)', path.read_text('utf-8'), flags=re.MULTILINE)[:3]
    pictures = re.findall(' src="(.*?)"', first)
    assert pictures == ['docs/images/report.png', 'docs/images/curves.png']
    assert all((PROJECT / name).stat().st_size <= 300_000 for name in pictures)
    titles = re.findall(r'^## (.*)$', path.read_text('utf-8'), re.MULTILINE)
    assert re.findall(r'\[([^]]+)\]\(#', first) == titles
    assert len(code.splitlines()) == 2 and 'best: val/acc' in printed and 'lenet_quickstart_2 ' in printed


@pytest.mark.parametrize('path', [path for path in DOCUMENTS if path.stem != 'performance'],
                         ids=lambda path: str(path.relative_to(PROJECT)))  # fmt: skip
def test_options_that_are_named_exist(path):
    known = {*options.train_parser()._option_string_actions, *options.test_parser()._option_string_actions}
    if 'scripts/sweep.py' in path.read_text(encoding='utf-8'):
        known |= {*load(PROJECT / 'scripts' / 'sweep.py').sweep_parser()._option_string_actions, '--csv', '--json'}
    if 'scripts/runs.py' in path.read_text(encoding='utf-8'):
        runs = load(PROJECT / 'scripts' / 'runs.py')
        parsers = (runs.parser_of(name, import_module(module)) for name, module in runs.COMMANDS.items())
        known.update(*(parser._option_string_actions for parser in parsers))
    if 'scripts/split.py' in path.read_text(encoding='utf-8'):
        known |= {*load(PROJECT / 'scripts' / 'split.py').split_parser()._option_string_actions}
    if 'scripts/export.py' in path.read_text(encoding='utf-8'):
        known |= {*load(PROJECT / 'scripts' / 'export.py').export_parser()._option_string_actions}
    if 'scripts/dev/plant_changes.py' in path.read_text(encoding='utf-8'):
        known |= {'--list', '--only'}
    if 'torchrun' in path.read_text(encoding='utf-8'):
        known |= {*get_args_parser()._option_string_actions}
    if 'scripts/test.sh' in path.read_text(encoding='utf-8'):
        known.add('--all')
    named = []
    for line in path.read_text(encoding='utf-8').replace('\\\n', ' ').splitlines():
        line = re.sub('pip install [^`]*', '', line)
        if path.stem == 'from-your-template' and line.startswith('|'):
            line = line.split(' | ')[-1]  # the columns before hold options of other programs
        if not line.lstrip('`$ ').startswith(
            ('tensorboard ', 'python scripts/', 'git ', 'sbatch ')
        ):  # have options of their own
            named += re.findall(r'(?<![\w-])--[a-z][\w-]*', line)
    assert named and [name for name in named if name.replace('-', '_').replace('__', '--', 1) not in known] == []


def test_commands_for_several_processes_are_accepted(here):
    """Only the parsers of torchrun and train.py see them here; tests/runs/test_torchrun.py starts processes."""
    ran = 0
    for _, blocks in sections(PROJECT / 'docs' / 'scale.md'):
        for language, code in blocks:
            for words in filter(None, (shlex.split(line, comments=True) for line in code.splitlines())):
                if words[0] == 'sbatch':
                    script = next(number for number, word in enumerate(words) if word.endswith('.sbatch'))
                    assert (PROJECT / words[script]).is_file()
                    words = words[script + 1 + words[script].endswith('array.sbatch') :]
                else:
                    given = get_args_parser().parse_args(words[1:])
                    assert (words[0], given.training_script) == ('torchrun', 'train.py')
                    words = given.training_script_args
                options.parse_train_args(words)
                ran += 1
            assert language == 'bash'
    assert ran >= 7


# --- docs/options.md


def test_the_table_of_options_is_up_to_date():
    script = load(PROJECT / 'scripts' / 'dev' / 'make_options_doc.py')
    text, written = script.document(), (PROJECT / 'docs' / 'options.md').read_text('utf-8')
    assert str(PROJECT) not in text and 'SUPPRESS' not in text
    changes = [line for line in difflib.ndiff(written.splitlines(), text.splitlines()) if line[0] in '+-']
    assert not [line for line in changes if line[0] == '-'], f'outdated lines; renew them: {script.COMMAND}'
    if changes:  # a new option breaks no test
        warnings.warn(f'docs/options.md lacks options; add them: {script.COMMAND}', stacklevel=1)


def test_the_table_has_every_option_at_most_once():
    text = (PROJECT / 'docs' / 'options.md').read_text('utf-8')
    names = re.findall(r'^\| `(--\w+)', text, re.MULTILINE)
    actions = [*options.train_parser()._actions, *options.test_parser()._actions]
    # --report is an option of both programs, on in one and off in the other.
    assert {*names} <= {action.option_strings[0] for action in actions}
    assert len(names) == len({*names}) + 1
    (row,) = re.findall(r'^\| `--checkpoints_dir.*', text, re.MULTILINE)
    assert '| `checkpoints/` |' in row
    assert re.search(r'^\| `--lr X` \| by the optimizer: 0.001, .* \| learning rate \| train \|$', text, re.MULTILINE)
    assert re.search(r'^\| `--task .* kept \|$', text, re.MULTILINE)


def test_renewing_the_table_of_options(tmp_path, monkeypatch):
    script = load(PROJECT / 'scripts' / 'dev' / 'make_options_doc.py')
    monkeypatch.setattr(script, 'DOCUMENT', tmp_path / 'options.md')
    with contextlib.redirect_stdout(io.StringIO()) as said:
        script.main()
    assert script.DOCUMENT.read_text('utf-8') == script.document()
    assert str(script.DOCUMENT) in said.getvalue()
